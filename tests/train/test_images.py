"""Batches of training images, damaged ones among them."""

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import DataError  # noqa: E402
from edgevpr.places.table import ImageTable  # noqa: E402
from edgevpr.preprocess import Preprocess  # noqa: E402
from edgevpr.train.images import Augment, Images, InOrder, loader  # noqa: E402

SIZE = Preprocess(32, 32)


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """Images of which those of rows 1, 2 and 6 are damaged, each in its way."""
    root = tmp_path / "images"
    shutil.copytree(tiny / "train", root)
    paths = ImageTable.load(root / "images.csv").paths
    (root / paths[1]).write_bytes(b"")
    (root / paths[2]).unlink()
    (root / paths[6]).write_bytes((root / paths[6]).read_bytes()[:-30])
    return root


def paths_of(root: Path) -> list[str]:
    return ImageTable.load(root / "images.csv").paths


def test_the_nearest_of_a_batch_takes_the_turn(folder: Path) -> None:
    """A batch keeps its size, and its rows are those of its pixels."""
    images = Images(folder, paths_of(folder), SIZE, unreadable="replace")
    pixels, rows = images[[(0, row) for row in range(8)]]
    assert rows.tolist() == [0, 0, 3, 3, 4, 5, 5, 7]
    for at, row in enumerate(rows.tolist()):
        assert torch.equal(pixels[at], images[[(0, row)]][0][0])
    with pytest.raises(DataError, match="found no"):
        images[[(0, 1), (0, 2)]]


def test_two_of_one_image_are_lit_apart(folder: Path) -> None:
    """And neither depends on anything but seed, epoch and place in the batch."""
    images = Images(folder, paths_of(folder), SIZE, Augment(), seed=3, unreadable="replace")
    batch = [(2, 0), (2, 1), (2, 3)]
    pixels, rows = images[batch]
    assert rows.tolist() == [0, 0, 3]
    assert not torch.equal(pixels[0], pixels[1])
    assert torch.equal(pixels, images[batch][0])
    assert torch.equal(pixels[0], images[[(2, 0)]][0][0])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_keeps_the_rows_that_could_not_be_read(folder: Path, workers: int) -> None:
    """From all worker processes, once each however often they are drawn."""
    images = Images(folder, paths_of(folder), SIZE, unreadable="replace")
    batches = loader(images, InOrder(0, 16, 4), workers)
    assert batches.unread == set()
    for _ in range(2):
        assert [len(rows) for _, rows in batches] == [4, 4, 4, 4]
    assert batches.unread == {1, 2, 6}


@pytest.mark.parametrize("workers", [0, 1])
def test_dropped_or_raised(folder: Path, workers: int) -> None:
    """Embedding leaves them out of their batch, which may end up empty; strict runs end."""
    dropping = Images(folder, paths_of(folder), SIZE, unreadable="drop")
    kept = [rows.tolist() for _, rows in loader(dropping, InOrder(1, 7, 2), workers)]
    assert kept == [[], [3, 4], [5]]
    assert dropping[[(0, 1)]][0].shape == (0, 3, 32, 32)
    with pytest.raises(DataError, match=r"^found no readable image in [^\n]*$"):
        list(loader(Images(folder, paths_of(folder), SIZE), InOrder(0, 4, 4), workers))


def test_whole_images_are_what_they_were(tiny: Path) -> None:
    """The way damage is met changes nothing where there is none."""
    paths = paths_of(tiny / "train")
    batch = [(1, row) for row in range(6)]
    strict = Images(tiny / "train", paths, SIZE, Augment(), seed=1)
    lenient = Images(tiny / "train", paths, SIZE, Augment(), seed=1, unreadable="replace")
    np.testing.assert_array_equal(strict[batch][0].numpy(), lenient[batch][0].numpy())
