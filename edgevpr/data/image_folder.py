"""Reader of image folders with ``@utm`` names or GPS positions in EXIF."""

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edgevpr.data.exif import read_exif
from edgevpr.data.image_files import LAYOUTS, list_images, why_unreadable
from edgevpr.data.left_out import LeftOut
from edgevpr.data.names import parse_utm_name
from edgevpr.errors import DataError
from edgevpr.places.table import ImageTable
from edgevpr.places.utm import FALSE_NORTHING


def read_folder(root: Path, left_out: list[LeftOut] | None = None) -> ImageTable:
    """The images below ``root``, searched recursively and sorted, with their positions.

    A file whose name starts with ``@`` is read by its name, any other by its EXIF block. Where no
    place id is given, ``number_places`` makes one from the position.

    Args:
        left_out: gets the images without a place; None: they are errors.

    Raises:
        DataError: no images, a malformed ``@utm`` name, or images without any position.
        MissingExtraError: EXIF must be read and Pillow is not installed.
    """
    root = Path(root)
    paths = list_images(root, left_out)
    rows: list[dict[str, Any]] = []
    unplaced: list[LeftOut] = []
    for path in paths:
        try:
            row = _row(root, path)
        except DataError as error:
            if left_out is None:
                raise
            named = PurePosixPath(path).name.startswith("@")
            row = str(error).partition(", expected")[0] if named else why_unreadable(root / path)
        if isinstance(row, str):
            unplaced.append(LeftOut(path, row))
        else:
            rows.append(row)
    if unplaced and (left_out is None or not rows):
        raise DataError(
            f"found {len(unplaced)} of the {len(paths)} images in {root} with neither an @utm name "
            f"nor a GPS position in EXIF, the first being {unplaced[0]}, expected {LAYOUTS}: "
            "rename them, or write an images.csv with the columns path and place"
        )
    if left_out is not None:
        left_out += unplaced
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return number_places(ImageTable.build(**columns).with_positions())


def number_places(table: ImageTable) -> ImageTable:
    """Give images without a place id one made of their position, rounded to a metre.

    The number is zone, hemisphere, easting and northing written one after the other, so images
    taken at one spot share it whichever folder they are read from, and it never meets the small
    ids that data sets use. Images without coordinates keep -1.
    """
    south = np.array([letter != "" and letter < "N" for letter in table.letter], bool)
    need = (table.place < 0) & table.located
    east = np.round(np.where(need, table.easting, 0)).astype(np.int64) % 10**6
    north = np.round(np.where(need, table.northing, 0)).astype(np.int64) % int(FALSE_NORTHING)
    number = ((1 + 2 * table.zone + south) * 10**6 + east) * 10**7 + north
    columns = {name: getattr(table, name) for name in table.__dataclass_fields__}
    return ImageTable(**{**columns, "place": np.where(need, number, table.place)})


def _row(root: Path, path: str) -> dict[str, Any] | str:
    """One row of the table, or why there is none.

    Raises:
        DataError: a malformed ``@utm`` name, or not an image.
    """
    if PurePosixPath(path).name.startswith("@"):
        name = parse_utm_name(path)
        row: dict[str, Any] = {
            field: getattr(name, field)
            for field in (
                "place", "easting", "northing", "zone", "letter", "lat", "lon", "heading", "time",
            )
        }  # fmt: skip
        return {"paths": path, **row}
    exif = read_exif(root / path)
    if exif.problem:
        return exif.problem
    return {
        "paths": path, "place": -1, "easting": math.nan, "northing": math.nan, "zone": 0,
        "letter": "", "lat": exif.lat, "lon": exif.lon, "heading": exif.heading, "time": exif.time,
    }  # fmt: skip
