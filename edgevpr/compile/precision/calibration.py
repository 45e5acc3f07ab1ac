"""Calibration images: spread over places, never evaluation queries, some held out."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.data.image_files import list_images
from edgevpr.data.read import read_images
from edgevpr.errors import DataError, MissingExtraError
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess, read_image
from edgevpr.printable import counted
from edgevpr.progress import Track, silent

#: Fewer images than this calibrate nothing.
FEWEST = 8
#: Images kept from calibration to measure parity on, and to keep as golden inputs.
HELD_OUT = 64


@dataclass(frozen=True)
class CalibrationImages:
    """Real images of the size the network takes."""

    #: (n, H, W, 3) uint8 RGB, to set ranges with.
    calibration: NDArray[np.uint8]
    #: (m, H, W, 3) uint8 RGB, to judge the result with.
    held_out: NDArray[np.uint8]
    #: False when there were too few images to keep any back: both sets are then the same.
    separate: bool
    #: their origin in words.
    source: str
    #: the images' paths in their folder, those to calibrate with first; empty: no files.
    paths: tuple[str, ...] = ()


def spread_over_places(table: ImageTable, count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Rows of up to ``count`` images: one of every place first, then a second of every place.

    Places, and the images of a place, come in seeded random order. An image without a place id
    is a place of its own.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table))
    place = table.place[order]
    alone = place < 0
    place = np.where(alone, place.max(initial=0) + 1 + np.arange(len(place)), place)
    # Turn k of a place is its k-th image in the shuffled order; sort by turn, keep the shuffle.
    by_place = np.argsort(place, kind="stable")
    first = np.r_[True, np.diff(place[by_place]) != 0]
    starts = np.maximum.accumulate(np.where(first, np.arange(len(place)), 0))
    turn = np.empty(len(place), np.int64)
    turn[by_place] = np.arange(len(place)) - starts
    return order[np.argsort(turn, kind="stable")][:count]


def read_calibration(
    folder: Path,
    preprocess: Preprocess,
    count: int = 128,
    *,
    seed: int = 0,
    track: Track = silent,
) -> CalibrationImages:
    """Choose and read calibration images from a folder of gallery or training images.

    Raises:
        DataError: no such folder, fewer than 8 images, an unreadable image, or a folder that
            holds evaluation queries.
    """
    folder = Path(folder)
    refuse_queries(folder)
    table = _table(folder)
    if len(table) < FEWEST:
        raise DataError(
            f"found {counted(len(table), 'image')} in {folder}, expected at least {FEWEST} to "
            "calibrate with, better 100: pass `calibration` with a folder of gallery or training "
            "images"
        )
    rows = spread_over_places(table, count + HELD_OUT, seed=seed)
    names = tuple(table.paths[row] for row in rows)
    paths = [folder / table.paths[row] for row in rows]
    images = np.stack(
        [preprocess.resize(read_image(path)) for path in track(paths, "reading calibration images")]
    )
    source = f"{counted(len(images), 'image')} of {folder.name}, spread over places, seed {seed}"
    if len(images) < 2 * FEWEST:
        return CalibrationImages(images, images, separate=False, source=source, paths=names)
    kept = min(HELD_OUT, max(FEWEST, len(images) - count, len(images) // 4))
    return CalibrationImages(
        images[:-kept], images[-kept:], separate=True, source=source, paths=names
    )


def extremes(height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """(4, H, W, 3) uint8: black, white, noise of black and white pixels, and stripes.

    As a lens cap, the sun, a torn cable and a fence give them.
    """
    images = np.zeros((4, height, width, 3), np.uint8)
    images[1] = 255
    rng = np.random.default_rng(seed)
    images[2] = 255 * rng.integers(0, 2, (height, width, 1), dtype=np.uint8)
    images[3, :, ::2] = 255
    return images


def images_of_gallery(gallery: Path) -> Path | None:
    """The folder that a gallery's images were read from, as far as its records lead to one here.

    ``index`` and ``embed`` save the folders they read; a gallery that was moved without its images
    leads nowhere, and then ``calibration`` must name them. A folder of evaluation queries, or of
    other images than the gallery's, is not taken.
    """
    try:
        table = ImageTable.load(gallery / "images.csv")
        features = _saved(gallery, "features")
        folder = features and _saved(features, "images")
    except (DataError, OSError, msgspec.DecodeError):
        return None
    if folder is None or not table.paths:
        return None
    some = (table.paths[0], table.paths[len(table) // 2], table.paths[-1])
    if not all((folder / name).is_file() for name in some):
        return None
    try:
        refuse_queries(folder)
    except DataError:
        return None
    return folder


def _saved(artifact: Path, name: str) -> Path | None:
    """A folder named in an artifact's config.json: as it stands there, or beside the artifact."""
    config = msgspec.json.decode((artifact / "config.json").read_bytes(), type=dict[str, object])
    path = Path(str(config.get(name, "")))
    parents = [Path(), *artifact.resolve().parents]
    return next((p / path for p in parents if path.name and (p / path).is_dir()), None)


def synthetic_images(
    preprocess: Preprocess, count: int = FEWEST, *, seed: int = 0
) -> CalibrationImages:
    """Smooth coloured noise, for parity and golden vectors where no real image was given."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    size = (preprocess.width, preprocess.height)
    images = np.stack([cv2.resize(c, size, interpolation=cv2.INTER_CUBIC) for c in coarse])
    return CalibrationImages(
        images, images, separate=False, source="synthetic noise, no real images"
    )


def _table(folder: Path) -> ImageTable:
    """The images of a folder; calibration needs no positions, so any images will do."""
    try:
        return read_images(folder)
    except (DataError, MissingExtraError):
        if (folder / "images.csv").is_file() or (folder / "Dataframes").is_dir():
            raise
        return ImageTable.build(list_images(folder))


def refuse_queries(folder: Path) -> None:
    """Raise DataError for a folder of evaluation queries, or one that holds such a folder."""
    if folder.resolve().name == "queries" or (folder / "queries").is_dir():
        raise DataError(
            f"found evaluation queries in {folder}, expected gallery or training images: pass the "
            "database/ folder beside them, since a network calibrated on what it is scored on "
            "scores too well"
        )
