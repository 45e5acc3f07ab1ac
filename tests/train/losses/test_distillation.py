"""The baselines against the public implementations' values and direct float64 versions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.losses import distillation  # noqa: E402
from edgevpr.train.losses.distillation import MonotoneMap, csd, d3still, msp, raml, regression  # noqa: E402


def _case(seed: int = 0, b: int = 6, d: int = 5) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return (torch.from_numpy(rng.normal(size=(b, d))) for _ in range(2))


@pytest.mark.parametrize("name", ["csd", "csd_paper_temperatures", "rop", "d3still", "raml"])
def test_public_value(shared: Path, name: str) -> None:
    vectors = np.load(shared / "parity" / "distillation_losses.npz", allow_pickle=False)
    given = json.loads(str(vectors["expected"]))[name]
    value = given.pop("value")
    given.pop("note", None)
    loss = getattr(distillation, name.partition("_")[0])
    query, gallery = (torch.from_numpy(vectors[k]) for k in ("query", "gallery"))
    assert loss(query, gallery, **given).item() == pytest.approx(value, rel=1e-9)


def test_regression_is_the_squared_distance() -> None:
    """A sum over dimensions, a mean over the batch."""
    q, g = _case(1)
    s, t = (x / x.norm(dim=1, keepdim=True) for x in (q, g))
    direct = np.mean([np.sum((a - b) ** 2) for a, b in zip(s.numpy(), t.numpy(), strict=True)])
    assert regression(q, g).item() == pytest.approx(direct, rel=1e-12)


def test_msp_direct() -> None:
    """The monotone map applies to the gallery's side."""
    q, g = _case(2)
    s, t = (x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True) for x in (q, g))
    mapping = MonotoneMap(4).double()
    with torch.no_grad():
        mapping.slopes.copy_(torch.tensor([0.1, -1.0, 2.0, 0.5]))
    slopes = np.log1p(np.exp([0.1, -1.0, 2.0, 0.5]))

    def phi(x: float) -> float:
        return -1 + sum(slopes[i] * min(max(x - (-1 + i / 2), 0), 0.5) for i in range(4))

    errors = []
    for i in range(len(s)):
        near = np.argsort(-(t @ t[i]))[:4]
        errors += [(s[i] @ t[j] - phi(t[i] @ t[j])) ** 2 for j in near]
    # Once for the query network, once for the map.
    expected = 2 * np.mean(errors)
    assert msp(q, g, top_k=4, mapping=mapping).item() == pytest.approx(expected, rel=1e-6)


def test_the_monotone_map_starts_as_the_identity_and_never_falls() -> None:
    x = torch.linspace(-1, 1, 101)
    mapping = MonotoneMap()
    torch.testing.assert_close(mapping(x), x, atol=1e-5, rtol=0)
    with torch.no_grad():
        mapping.slopes.normal_(0, 5)
    assert (mapping(x).diff() >= 0).all()


@pytest.mark.parametrize("name", ["csd", "rop", "msp", "d3still"])
def test_neighbours_of_the_batch_are_the_same_loss(name: str) -> None:
    """Precomputed neighbours are ranked and normalized like those of the batch."""
    q, g = _case(3)
    unit = g / g.norm(dim=1, keepdim=True)
    near = unit[(unit @ unit.T).argsort(1, descending=True)[:, :4]]
    loss = getattr(distillation, name)
    assert loss(q, g, top_k=4, neighbours=near).item() == pytest.approx(
        loss(q, g, top_k=4).item(), rel=1e-12
    )


@pytest.mark.parametrize("loss", [csd, d3still, raml, msp, regression])
def test_gradient_against_finite_differences(loss: Any) -> None:
    q, g = _case(4, b=4)
    assert torch.autograd.gradcheck(lambda x: loss(x, g), (q.requires_grad_(True),))


@pytest.mark.parametrize("loss", [csd, d3still, raml, msp, regression, distillation.rop])
def test_equal_descriptors_have_finite_gradients(loss: Any) -> None:
    g = next(iter(_case(5))).float()
    q = g.clone().requires_grad_(True)
    loss(q, g).backward()
    assert q.grad.isfinite().all()


def test_refusals() -> None:
    q, g = _case(6)
    with pytest.raises(UsageError, match="top_k 1"):
        csd(q, g, top_k=1)
    with pytest.raises(UsageError, match="batch of 1, expected 2 or more"):
        raml(q[:1], g[:1])
