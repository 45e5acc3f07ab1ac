"""States that are kept: the right ones, of the right rows, and none over the limit."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgevpr.data import read_images  # noqa: E402
from edgevpr.errors import DataError  # noqa: E402
from edgevpr.preprocess import Preprocess  # noqa: E402
from edgevpr.progress import silent  # noqa: E402
from edgevpr.train.anytime.state_cache import InRows, StoredStates, store_states  # noqa: E402
from edgevpr.train.images import Images  # noqa: E402

ROWS = np.array([0, 3, 4, 11, 31])


def compute(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """16 numbers and one number an image: 68 bytes."""
    return images[:, :1, :4, :4], images.mean((1, 2, 3))


def stored(root: Path, max_mb: float) -> StoredStates | None:
    images = Images(root, read_images(root).paths, Preprocess(64, 64))
    return store_states(images, ROWS, compute, max_mb, workers=0, track=silent)


def test_batches_are_of_the_rows_asked_for(tiny: Path) -> None:
    """A row and its place in the cache confused would give another image's state."""
    found = stored(tiny / "train", 1)
    assert found is not None
    assert found.megabytes == pytest.approx(len(ROWS) * 17 * 4 / 1e6)
    images = Images(tiny / "train", read_images(tiny / "train").paths, Preprocess(64, 64))
    (state, mean), rows = found[[(0, 11), (2, 0), (1, 31)]]
    assert rows.tolist() == [11, 0, 31]
    pixels, _ = images[[(0, 11), (0, 0), (0, 31)]]
    assert torch.equal(state, pixels[:, :1, :4, :4])
    torch.testing.assert_close(mean, pixels.mean((1, 2, 3)))


def test_nothing_is_kept_over_the_limit(tiny: Path) -> None:
    needed = len(ROWS) * 17 * 4 / 1e6
    assert stored(tiny / "train", needed * 0.99) is None
    assert stored(tiny / "train", 0) is None
    assert stored(tiny / "train", needed) is not None


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    images = Images(tmp_path, ["a.png"], Preprocess(64, 64))
    with pytest.raises(DataError, match=r"a\.png"):
        store_states(images, np.array([0]), compute, 1, workers=0, track=silent)


def test_rows_in_batches() -> None:
    assert list(InRows(ROWS, 2)) == [[(0, 0), (0, 3)], [(0, 4), (0, 11)], [(0, 31)]]
