"""Eq. 3, 5 and 8 against direct float64 versions written from the paper."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.losses.asymmetric import (  # noqa: E402
    QueueBank,
    asymmetric,
    explicit,
    implicit,
    negatives,
)

TAU, GAMMA = 0.05, 15.0


def _case(seed: int = 0, b: int = 5, m: int = 9, d: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)

    def unit(n: int) -> np.ndarray:
        x = rng.normal(size=(n, d))
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    return {
        "query": unit(b),
        "gallery": unit(b),
        "centroids": unit(m) * 0.8,
        "own": rng.integers(0, m, b),
        "variance": rng.uniform(0, 2e-3, (b, d)),
    }


def _tensors(case: dict[str, np.ndarray]) -> dict[str, "torch.Tensor"]:
    return {k: torch.from_numpy(v) for k, v in case.items()}


def _direct(case: dict[str, np.ndarray], gamma: float) -> float:
    """Eq. 8 term by term, as printed."""
    losses = []
    for i in range(len(case["query"])):
        q, g, s = case["query"][i], case["gallery"][i], np.diag(case["variance"][i])
        top = np.exp(q @ g / TAU)
        below = top
        for j, c in enumerate(case["centroids"]):
            if j != case["own"][i]:
                below += np.exp(q @ c / TAU + gamma / (2 * TAU**2) * (q @ s @ q))
        losses.append(-np.log(top / below))
    return float(np.mean(losses))


@pytest.mark.parametrize("gamma", [0.0, 1.0, GAMMA])
def test_implicit_is_equation_8(gamma: float) -> None:
    case = _case()
    loss = implicit(**_tensors(case), tau=TAU, gamma=gamma)
    assert loss.item() == pytest.approx(_direct(case, gamma), rel=1e-12)


def test_asymmetric_is_equation_3() -> None:
    """Eq. 3 is Eq. 8 at gamma 0."""
    case = _case(1)
    tensors = _tensors(case)
    del tensors["variance"]
    assert asymmetric(**tensors, tau=TAU).item() == pytest.approx(_direct(case, 0.0), rel=1e-12)


def test_implicit_bounds_the_explicit_mean() -> None:
    """Eq. 7: the mean of Eq. 5 over samples stays under Eq. 8 (Jensen)."""
    case = _case(2)
    case["variance"] *= 0.05
    rng = np.random.default_rng(3)
    samples = []
    for _ in range(1000):
        noise = rng.normal(size=case["gallery"].shape) * np.sqrt(GAMMA * case["variance"])
        samples.append(_direct(case | {"gallery": case["gallery"] + noise}, 0.0))
    plain = _direct(case, 0.0)
    bound = implicit(**_tensors(case), tau=TAU, gamma=GAMMA).item()
    assert np.mean(samples) <= bound
    # Tight at small variance: measured 5.980 under 6.133, both above the 5.974 without it.
    assert plain < bound
    assert bound - np.mean(samples) < 0.2


def test_gradient_against_finite_differences() -> None:
    tensors = _tensors(_case(4, b=2, m=4, d=6))
    tensors["query"].requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda q: implicit(**(tensors | {"query": q}), tau=0.3, gamma=2.0), (tensors["query"],)
    )


def test_half_precision_inputs_stay_finite() -> None:
    """1/tau^2 and exp do not overflow under autocast."""
    tensors = _tensors(_case(5, m=200))
    halves = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    with torch.autocast("cpu", torch.bfloat16):
        loss = implicit(**halves, tau=0.01, gamma=100.0)
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_explicit_is_equation_5() -> None:
    """Samples are scaled by the root of the variance, and averaged."""
    case = _case(6)
    noise = np.random.default_rng(7).normal(size=(3, *case["gallery"].shape))
    direct = np.mean(
        [
            _direct(case | {"gallery": case["gallery"] + e * np.sqrt(GAMMA * case["variance"])}, 0)
            for e in noise
        ]
    )
    loss = explicit(**_tensors(case), tau=TAU, gamma=GAMMA, noise=torch.from_numpy(noise))
    assert loss.item() == pytest.approx(direct, rel=1e-12)
    with pytest.raises(UsageError, match="samples 0"):
        explicit(**_tensors(case), samples=0)


def test_explicit_draws_stay_under_equation_8() -> None:
    """Eq. 7 with the loss's own samples, of variance gamma S."""
    tensors = _tensors(_case(2))
    tensors["variance"] *= 0.05
    torch.manual_seed(0)
    mean = explicit(**tensors, tau=TAU, gamma=GAMMA, samples=4000).item()
    assert asymmetric(*(tensors[k] for k in ("query", "gallery", "centroids", "own"))) < mean
    assert mean <= implicit(**tensors, tau=TAU, gamma=GAMMA).item()


@pytest.mark.parametrize("block", [1, 2, 4, 100])
def test_blocks_change_nothing(block: int) -> None:
    """Running maximum, mask and gradient carry over from block to block."""
    tensors = _tensors(_case(8))
    results = []
    for size in (block, 1000):
        q = tensors["query"].clone().requires_grad_(True)
        negatives(q, tensors["centroids"], tensors["own"], TAU, size).sum().backward()
        loss = implicit(**(tensors | {"query": q}), tau=TAU, gamma=GAMMA, block=size)
        results.append((loss.item(), q.grad.clone()))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1])


def test_gradient_over_blocks_against_finite_differences() -> None:
    """The gathered gradient leaves out the own place."""
    tensors = _tensors(_case(9, b=3, m=7, d=6))
    q = tensors["query"].requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda x: negatives(x, tensors["centroids"], tensors["own"], 0.3, 2), (q,)
    )


def test_a_far_negative_does_not_overflow() -> None:
    q = torch.eye(4)[:1].requires_grad_(True)
    loss = asymmetric(q, -torch.eye(4)[:1], torch.eye(4), torch.tensor([3]), tau=0.001)
    loss.backward()
    assert loss.item() == pytest.approx(2000, rel=1e-5)
    assert q.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0.0, GAMMA])
def test_queue_is_equation_8_over_its_entries(gamma: float) -> None:
    """Empty slots are no negatives, and the own place is masked; at gamma 0 it is Eq. 3."""
    case = _case(10, b=4, m=6)
    queue = QueueBank(8, 16).double()
    tensors = _tensors(case)
    centroids = tensors.pop("centroids")
    assert queue(**tensors, tau=TAU, gamma=gamma).item() == 0  # nothing to contrast with yet
    queue.push(centroids, torch.arange(6))
    loss = queue(**tensors, tau=TAU, gamma=gamma)
    assert loss.item() == pytest.approx(_direct(case, gamma), rel=1e-12)


def test_queue_forgets_the_oldest() -> None:
    queue = QueueBank(3, 2)
    for start in range(5):
        queue.push(torch.full((1, 2), float(start)), torch.tensor([start]))
    assert sorted(queue.get_buffer("places").tolist()) == [2, 3, 4]
    queue.push(torch.arange(10.0).reshape(5, 2), torch.arange(10, 15))
    assert sorted(queue.get_buffer("places").tolist()) == [12, 13, 14]


@pytest.mark.parametrize("block", [2, 100])
def test_hidden_places_are_no_negatives(block: int) -> None:
    """Rows beside the own one leave the sum, in every block, and -1 hides nothing."""
    case = _case(11, b=3, m=8)
    hidden = np.array([[0, 3, -1], [2, 7, 1], [5, -1, -1]])
    losses = []
    for i in range(3):
        kept = [j for j in range(8) if j not in hidden[i]]
        one = {k: v[i : i + 1] for k, v in case.items() if k != "centroids"}
        rest = np.concatenate([case["centroids"][kept], case["centroids"][:1]])
        one |= {"centroids": rest, "own": np.array([len(kept)])}
        losses.append(_direct(one, GAMMA))
    tensors = _tensors(case) | {"own": torch.from_numpy(hidden)}
    loss = implicit(**tensors, tau=TAU, gamma=GAMMA, block=block)
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-12)
    queue = QueueBank(9, 16).double()
    queue.push(tensors.pop("centroids"), torch.arange(8))
    assert queue(**tensors, tau=TAU, gamma=GAMMA).item() == pytest.approx(
        np.mean(losses), rel=1e-12
    )
