"""Tuning images: held out, answered by the gallery, never evaluation queries."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgevpr.compile.auto.tuning_images import TuningImages, read_tuning
from edgevpr.errors import DataError
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess

PREPROCESS = Preprocess(16, 16)


def photos(folder: Path, count: int, *, apart_m: float = 10.0) -> ImageTable:
    """Images along a line."""
    folder.mkdir(parents=True)
    names = [f"{i:03d}.png" for i in range(count)]
    for i, name in enumerate(names):
        image = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / name), image)
    table = ImageTable.build(
        names, easting=500_000 + apart_m * np.arange(count), northing=np.full(count, 5e6),
        zone=np.full(count, 32), letter=["U"] * count,
    )  # fmt: skip
    table.save(folder / "images.csv")
    return table


class Fixed:
    """A gallery that answers each query with the rows it was given."""

    def __init__(self, images: ImageTable, rows: NDArray[np.int64]) -> None:
        self.images, self.rows = images, rows

    def search(
        self, descriptors: NDArray[np.float32], k: int = 20
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return np.zeros((len(descriptors), k), np.float32), self.rows


def test_an_image_does_not_answer_itself(tmp_path: Path) -> None:
    """Gallery images are left out of their own search."""
    table = photos(tmp_path / "map", 30)
    tuning = read_tuning(tmp_path / "map", table, PREPROCESS)
    assert tuning.own.tolist() == list(range(30))
    assert all(i not in good for i, good in enumerate(tuning.positives))
    assert "each left out of its own search" in tuning.source
    own, far = np.arange(30), (np.arange(30) + 15) % 30
    descriptors = np.zeros((30, 2), np.float32)
    assert not tuning.right(Fixed(table, np.stack([own, far], axis=1)), descriptors).any()
    near = np.where(own < 29, own + 1, own - 1)
    assert tuning.right(Fixed(table, np.stack([own, near], axis=1)), descriptors).all()


def test_images_that_calibrated_are_left_out_if_others_suffice(tmp_path: Path) -> None:
    table = photos(tmp_path / "map", 140)
    seen = table.paths[:40]
    tuning = read_tuning(tmp_path / "map", table, PREPROCESS, without=seen)
    assert len(tuning.images) == 100
    assert "calibrated" not in tuning.source
    again = read_tuning(tmp_path / "map", table, PREPROCESS, without=table.paths[:60])
    assert len(again.images) == 140
    assert "some calibrated" in again.source


@pytest.mark.parametrize("name", ["queries", "test"])
def test_evaluation_queries_are_refused(tmp_path: Path, name: str) -> None:
    table = photos(tmp_path / "test" / "queries", 30)
    folder = tmp_path / "test" / "queries" if name == "queries" else tmp_path / "test"
    with pytest.raises(DataError, match="evaluation queries"):
        read_tuning(folder, table, PREPROCESS)


def test_another_area_is_refused(tmp_path: Path) -> None:
    photos(tmp_path / "there", 30)
    far = ImageTable.build(["a"], easting=[1e5], northing=[1e6], zone=[32], letter=["U"])
    with pytest.raises(DataError, match=r"found 0 images .* pass `tuning`"):
        read_tuning(tmp_path / "there", far, PREPROCESS)


def test_recall_is_of_the_first_answer() -> None:
    table = ImageTable.build(["a", "b"])
    images = np.zeros((2, 4, 4, 3), np.uint8)
    tuning = TuningImages(images, [np.array([0]), np.array([0])], np.array([-1, -1]), "")
    answers = Fixed(table, np.array([[0, 1], [1, 0]]))
    assert tuning.right(answers, np.zeros((2, 2), np.float32)).tolist() == [True, False]
