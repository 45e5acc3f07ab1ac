"""The projection: what it computes, and that its file comes back or is refused."""

from pathlib import Path

import numpy as np
import pytest

from edgevpr.errors import CorruptArtifactError
from edgevpr.retrieval.projection import Projection, l2_normalize


@pytest.fixture
def projection() -> Projection:
    rng = np.random.default_rng(0)
    return Projection(
        mean=rng.standard_normal(16).astype(np.float32),
        matrix=rng.standard_normal((4, 16)).astype(np.float32),
    )


def test_apply_is_its_formula(projection: Projection) -> None:
    """Float16 input too."""
    x = np.random.default_rng(1).standard_normal((7, 16)).astype(np.float16)
    expected = []
    for row in x.astype(np.float64):
        y = projection.matrix.astype(np.float64) @ (row - projection.mean)
        expected.append(y / np.sqrt((y * y).sum()))
    result = projection.apply(x)
    assert projection.shape == (4, 16)
    assert (result.dtype, result.shape) == (np.float32, (7, 4))
    # float32 against float64; measured 2e-7
    np.testing.assert_allclose(result, expected, atol=2e-6)


def test_round_trip(projection: Projection, tmp_path: Path) -> None:
    """To the last bit, as the fused graph has it."""
    projection.save(tmp_path / "projection.npy")
    loaded = Projection.load(tmp_path / "projection.npy")
    np.testing.assert_array_equal(loaded.mean, projection.mean)
    np.testing.assert_array_equal(loaded.matrix, projection.matrix)
    assert loaded.matrix.flags.c_contiguous
    assert loaded.matrix.dtype == np.float32


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((1, 3)), np.zeros((3, 3), int)])
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "p.npy", array)
    with pytest.raises(CorruptArtifactError, match="expected a"):
        Projection.load(tmp_path / "p.npy")


def test_other_files_are_refused(tmp_path: Path) -> None:
    """Numpy's exceptions become one sentence; pickles are never loaded."""
    np.savez(tmp_path / "archive.npz", a=np.zeros(3))
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "text.npy").write_text("text")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("archive.npz", "object.npy", "text.npy", "empty.npy", "absent.npy"):
        with pytest.raises(CorruptArtifactError, match="edgevpr index"):
            Projection.load(tmp_path / name)


def test_mean_and_matrix_must_fit() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Projection(mean=np.zeros(16, np.float32), matrix=np.zeros((16, 4), np.float32))


def test_l2_normalize_keeps_zero_rows() -> None:
    result = l2_normalize(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(result, [[0.6, 0.8], [0.0, 0.0]], atol=1e-7)
    assert result.dtype == np.float32
