"""Aggregators against the public reference implementations' outputs, and at their limits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.networks.aggregators import MLP, SALAD, BoQ, GeM, SuperVLAD  # noqa: E402
from edgevpr.train.networks.aggregators.salad import sinkhorn  # noqa: E402


@pytest.mark.parametrize(
    ("name", "kind"), [("boq", BoQ), ("salad", SALAD), ("supervlad", SuperVLAD)]
)
def test_matches_the_reference(shared: Path, name: str, kind: Any) -> None:
    vectors = np.load(shared / "parity" / f"{name}.npz", allow_pickle=False)
    network = kind(**json.loads(str(vectors["config"]))).eval()
    state = {
        k[2:]: torch.from_numpy(np.asarray(vectors[k])) for k in vectors.files if k[:2] == "w:"
    }
    network.load_state_dict(state, strict=True)
    inputs = [torch.from_numpy(vectors[k]) for k in ("x", "token") if k in vectors.files]
    with torch.no_grad():
        y = network(*inputs).numpy()
        if len(inputs) == 2:  # the published call passes a pair
            np.testing.assert_array_equal(network(tuple(inputs)).numpy(), y)
    np.testing.assert_allclose(y, vectors["y"], atol=1e-5)
    assert y.shape[1] == network.dim


def test_sinkhorn_keeps_the_mass() -> None:
    """Patches give one unit each, a cluster takes one at most."""
    scores = torch.randn(2, 6, 40, dtype=torch.float64, generator=torch.manual_seed(0))
    assignment = sinkhorn(scores, torch.tensor(1.0, dtype=torch.float64), iterations=200).exp()
    # Rows of clusters hold 1 each after scaling by n + m; columns at most 1, the dustbin the rest.
    torch.testing.assert_close(assignment.sum(2), torch.ones(2, 6, dtype=torch.float64))
    assert (assignment.sum(1) <= 1 + 1e-9).all()
    half = sinkhorn(scores.half(), torch.tensor(1.0))
    assert half.dtype == torch.float32


def test_salad_without_a_token_takes_the_mean_patch() -> None:
    network = SALAD(8, num_clusters=4, cluster_dim=3, token_dim=2).eval()
    x = torch.randn(2, 8, 3, 3, generator=torch.manual_seed(1))
    torch.testing.assert_close(network(x), network(x, x.mean((2, 3))))


def test_gem_is_a_generalized_mean() -> None:
    x = torch.rand(2, 5, 4, 4, generator=torch.manual_seed(2)) + 0.1
    unit = (x / x.norm(dim=1, keepdim=True)).double().numpy()
    direct = (unit**3).mean((2, 3)) ** (1 / 3)
    direct /= np.linalg.norm(direct, axis=1, keepdims=True)
    np.testing.assert_allclose(GeM(5)(x).detach().numpy(), direct, atol=1e-6)
    assert GeM(5, dim=7)(x).shape == (2, 7)


def test_mlp_reaches_the_gallery_width() -> None:
    """Descriptors have unit length."""
    y = MLP(5, dim=11)(torch.randn(2, 5, 4, 4))
    torch.testing.assert_close(y.norm(dim=1), torch.ones(2))


def test_boq_refuses_a_width_without_whole_heads() -> None:
    with pytest.raises(UsageError, match="multiple of 64"):
        BoQ(proj_channels=100)


def test_salad_refuses_too_few_patches() -> None:
    """Fewer patches than clusters would give NaN descriptors."""
    with pytest.raises(UsageError, match="49 patches for 64 clusters"):
        SALAD(8)(torch.zeros(1, 8, 7, 7))
