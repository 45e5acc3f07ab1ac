"""Calibration images: spread over places, never evaluation queries."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevpr.compile.precision.calibration import (
    FEWEST,
    images_of_gallery,
    read_calibration,
    spread_over_places,
    synthetic_images,
)
from edgevpr.errors import DataError
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess

PREPROCESS = Preprocess(32, 48)


def folder(path: Path, count: int) -> Path:
    path.mkdir(parents=True)
    for i in range(count):
        image = np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        assert cv2.imwrite(str(path / f"{i:03d}.png"), image)
    return path


def test_every_place_once_before_any_twice() -> None:
    """A second image of a place comes after the first of every other."""
    place = np.r_[np.zeros(100), np.arange(1, 20)].astype(np.int64)
    table = ImageTable.build([f"{i}.jpg" for i in range(len(place))], place=place)
    rows = spread_over_places(table, 20)
    assert len(set(rows.tolist())) == 20
    assert sorted(place[rows].tolist()) == list(range(20))
    more = spread_over_places(table, 30)
    assert more[:20].tolist() == rows.tolist()
    assert (place[more] == 0).sum() == 11
    assert spread_over_places(table, 20, seed=1).tolist() != rows.tolist()
    assert len(spread_over_places(table, 1000)) == len(table)


def test_images_without_places_count_one_by_one() -> None:
    """Place -1 is unknown, not one large place."""
    table = ImageTable.build([f"{i}.jpg" for i in range(12)], place=[-1] * 11 + [5])
    assert sorted(spread_over_places(table, 12).tolist()) == list(range(12))


def test_images_are_read_resized_and_split(tmp_path: Path) -> None:
    """Held-out images judge what the others calibrated: none may be in both."""
    images = read_calibration(folder(tmp_path / "a", 40), PREPROCESS, 24)
    assert images.calibration.shape == (24, 32, 48, 3)
    assert images.held_out.shape == (16, 32, 48, 3)
    assert images.calibration.dtype == np.uint8
    assert images.separate
    keys = [{image.tobytes() for image in part} for part in (images.calibration, images.held_out)]
    assert not keys[0] & keys[1]
    again = read_calibration(tmp_path / "a", PREPROCESS, 24)
    np.testing.assert_array_equal(again.calibration, images.calibration)


def test_some_are_held_out_even_if_more_were_asked_for(tmp_path: Path) -> None:
    """A count larger than the folder leaves images for parity."""
    images = read_calibration(folder(tmp_path / "a", 32), PREPROCESS, 500)
    assert (len(images.calibration), len(images.held_out)) == (24, 8)


def test_few_images_serve_both_and_are_not_called_separate(tmp_path: Path) -> None:
    """With 9 images, the same ones calibrate and measure parity."""
    images = read_calibration(folder(tmp_path / "a", 9), PREPROCESS, 128)
    assert (len(images.calibration), len(images.held_out)) == (9, 9)
    assert not images.separate


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_images_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(DataError, match=r"expected .*"):
        read_calibration(folder(tmp_path / "a", count), PREPROCESS)


def test_evaluation_queries_are_refused(tmp_path: Path) -> None:
    """A folder named queries, or one that holds such a folder."""
    folder(tmp_path / "test" / "queries", FEWEST)
    folder(tmp_path / "test" / "database", FEWEST)
    for path in (tmp_path / "test" / "queries", tmp_path / "test"):
        with pytest.raises(DataError, match="evaluation queries"):
            read_calibration(path, PREPROCESS)
    assert len(read_calibration(tmp_path / "test" / "database", PREPROCESS).held_out) == FEWEST


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    """A half-copied JPEG is refused with its path."""
    path = folder(tmp_path / "a", 10)
    (path / "005.png").write_bytes(b"not a png")
    with pytest.raises(DataError, match=r"005\.png"):
        read_calibration(path, PREPROCESS)


def test_synthetic_images_are_called_synthetic() -> None:
    images = synthetic_images(PREPROCESS)
    assert images.held_out.shape == (FEWEST, 32, 48, 3)
    assert not images.separate
    assert "synthetic" in images.source


def saved_gallery(root: Path, images: Path, names: list[str]) -> Path:
    """The records of a gallery and its features that lead to the images."""
    for name, key, value in (("features", "images", images), ("gallery", "features", "features")):
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text(json.dumps({key: str(value)}))
    ImageTable.build(names).save(root / "gallery" / "images.csv")
    return root / "gallery"


def test_a_gallerys_own_images_are_found(tmp_path: Path) -> None:
    """Through the records of index and embed, also where those name folders beside them."""
    images = folder(tmp_path / "work" / "map" / "database", 10)
    names = sorted(p.name for p in images.iterdir())
    gallery = saved_gallery(tmp_path / "work", Path("map/database"), names)
    assert images_of_gallery(gallery) == images
    (images / names[-1]).unlink()
    assert images_of_gallery(gallery) is None


def test_a_gallery_that_leads_to_queries_or_nowhere_gives_none(tmp_path: Path) -> None:
    """A gallery of evaluation queries, or of images that are gone, gives no folder."""
    images = folder(tmp_path / "a" / "queries", 10)
    names = sorted(p.name for p in images.iterdir())
    assert images_of_gallery(saved_gallery(tmp_path / "a", images, names)) is None
    assert images_of_gallery(saved_gallery(tmp_path / "b", tmp_path / "gone", names)) is None
    assert images_of_gallery(tmp_path / "no") is None
