"""Reader of image folders of any layout."""

import contextlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgevpr.artifacts.manifest import MANIFEST
from edgevpr.data.gsv import is_gsv_cities, read_gsv_cities
from edgevpr.data.image_files import LAYOUTS, list_images, missing_images
from edgevpr.data.image_folder import number_places, read_folder
from edgevpr.data.left_out import LeftOut, summary
from edgevpr.data.readings import position_problem
from edgevpr.errors import DataError
from edgevpr.places.csv_rows import recoded
from edgevpr.places.table import ImageTable

TABLE = "images.csv"


def read_images(root: Path, left_out: list[LeftOut] | None = None) -> ImageTable:
    """The images of a folder, whichever layout it has; paths are relative to ``root``.

    In this order: an ``images.csv`` (see ``read_table``), GSV-Cities, ``@utm`` names or EXIF.

    Args:
        left_out: gets the images, rows and folders that cannot be used; None: they are errors.

    Raises:
        DataError: no such folder, no images, images without places, or a folder that holds both
            ``database/`` and ``queries/``, which must never end up in one gallery.
        MissingExtraError: EXIF must be read and Pillow is not installed.
    """
    root = Path(root)
    if (root / MANIFEST).is_file():
        raise DataError(
            f"found an edgevpr artifact at {root}, expected a folder of images ({LAYOUTS}): pass "
            "the folder that it was made from"
        )
    if (root / TABLE).is_file():
        return read_table(root, left_out)
    if is_gsv_cities(root):
        return read_gsv_cities(root, left_out=left_out)
    if (root / "database").is_dir() and (root / "queries").is_dir():
        raise DataError(
            f"found database/ and queries/ in {root}, expected one of the two: pass "
            f"{root}/database or {root}/queries"
        )
    return read_folder(root, left_out)


def read_table(root: Path, left_out: list[LeftOut] | None = None) -> ImageTable:
    """A folder with an ``images.csv``: the way in for data whose places are known, not located.

    It has a column ``path``, relative to the folder, and ``place``, or ``easting`` and
    ``northing`` (with ``zone`` and ``letter``, unless they are metres of a local plane), or ``lat``
    and ``lon``. Images that the table does not name are not used. Latitude and longitude 0 are no
    position: receivers write them without a fix.

    Args:
        left_out: gets the rows without an image or a place, and the images without a row; None:
            the former are errors.

    Raises:
        DataError: a missing column, images named there and missing, or rows without any place.
    """
    root = Path(root)
    file = root / TABLE
    table = ImageTable.load(file)
    table = replace(table, paths=[_on_disk(root, path) for path in table.paths])
    if not len(table):
        list_images(root)
        raise DataError(
            f"found no image named in {file}, expected a row for each: complete the file"
        )
    nowhere = (table.lat == 0) & (table.lon == 0)
    table = replace(
        table, lat=np.where(nowhere, np.nan, table.lat), lon=np.where(nowhere, np.nan, table.lon)
    )
    if left_out is None:
        missing_images(root, table.paths, str(file))
    else:
        table = _usable(root, table, left_out)
    table = number_places(table.with_positions())
    unplaced = np.flatnonzero(table.place < 0)
    if len(unplaced) and (left_out is None or len(unplaced) == len(table)):
        raise DataError(
            f"found {len(unplaced)} of the {len(table)} rows of {file} without a place, the "
            f"first being {table.paths[unplaced[0]]}, expected a column place, or easting and "
            "northing, or lat and lon: complete the file"
        )
    if len(unplaced) and left_out is not None:
        left_out += [LeftOut(table.paths[row], f"no place in {TABLE}") for row in unplaced]
        table = table.take(table.place >= 0)
    if left_out is not None:
        named = {*table.paths, *(item.path for item in left_out)}
        with contextlib.suppress(DataError):  # images of other types, which only a table can name
            others = [path for path in list_images(root, left_out) if path not in named]
            left_out += [LeftOut(path, f"not named in {TABLE}") for path in others]
    return table


def _usable(root: Path, table: ImageTable, left_out: list[LeftOut]) -> ImageTable:
    """The rows whose images are there and whose degrees UTM can hold; at least one.

    Raises:
        DataError: there is no such row.
    """
    keep = []
    for row, path in enumerate(table.paths):
        lat, lon = table.lat[row], table.lon[row]
        problem = "" if math.isnan(lat) or math.isnan(lon) else position_problem(lat, lon)
        if not (path and (root / path).is_file()):
            problem = f"named in {TABLE}, but there is no such file"
        if problem and (table.place[row] < 0 or "file" in problem):
            left_out.append(LeftOut(path or TABLE, problem))
        else:
            keep.append(row)
    if not keep:
        raise DataError(
            f"found no row of {root / TABLE} that can be used, {summary(left_out)}, expected a row "
            "for each image: correct the file"
        )
    return table.take(keep)


def _on_disk(root: Path, path: str) -> str:
    """The path as the disk spells it, where the table is Latin-1 or has ``\\`` between folders."""
    if path and not (root / path).is_file():
        for other in (recoded(path), path.strip(), recoded(path).replace("\\", "/").strip()):
            if other != path and (root / other).is_file():
                return other
    return path
