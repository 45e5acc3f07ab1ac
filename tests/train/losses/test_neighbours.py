"""Precomputed neighbours against a direct search."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from edgevpr.train.losses.neighbours import precompute_neighbours


@pytest.mark.parametrize("block", [7, 1000])
def test_nearest_first_and_the_image_itself_leads(tmp_path: Path, block: int) -> None:
    """Over all blocks, and the image itself before a duplicate of it."""
    x = np.random.default_rng(0).normal(size=(30, 6))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)
    x[20] = x[4]
    found = precompute_neighbours(x, 5, tmp_path / "n.npy", block=block)
    assert (found.rows[:, 0] == np.arange(30)).all()
    assert {20, 4} <= set(found.rows[4][:2].tolist())
    similarity = x.astype(np.float32) @ x.T.astype(np.float32)
    for i in range(30):
        best = np.sort(similarity[i])[::-1][:5]
        np.testing.assert_allclose(np.sort(similarity[i][found.rows[i]])[::-1], best, atol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["n.npy"]
    assert found.descriptors(np.array([2, 9])).shape == (2, 5, 6)


def test_more_neighbours_than_images(tmp_path: Path) -> None:
    """No row is -1."""
    found = precompute_neighbours(np.eye(3, dtype=np.float16), 256, tmp_path / "n.npy")
    assert np.sort(found.rows, 1).tolist() == [[0, 1, 2]] * 3
