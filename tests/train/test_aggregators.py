"""Aggregators against the public reference implementations' outputs."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.aggregators import BoQ  # noqa: E402


def test_boq_matches_the_reference(shared: Path) -> None:
    """Catches a renamed parameter, another normalization order, or a wrong head count."""
    vectors = np.load(shared / "parity" / "boq.npz", allow_pickle=False)
    network = BoQ(**json.loads(str(vectors["config"]))).eval()
    state = {k[2:]: torch.from_numpy(vectors[k]) for k in vectors.files if k.startswith("w:")}
    network.load_state_dict(state, strict=True)
    with torch.no_grad():
        y = network(torch.from_numpy(vectors["x"])).numpy()
    np.testing.assert_allclose(y, vectors["y"], atol=1e-5)


def test_boq_refuses_a_width_without_whole_heads() -> None:
    """Catches a torch assertion reaching the user instead of a sentence."""
    with pytest.raises(UsageError, match="multiple of 64"):
        BoQ(proj_channels=100)
