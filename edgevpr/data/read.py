"""Reader of image folders of any layout."""

from pathlib import Path

import numpy as np

from edgevpr.artifacts.manifest import MANIFEST
from edgevpr.data.gsv import is_gsv_cities, read_gsv_cities
from edgevpr.data.image_files import LAYOUTS, list_images, missing_images
from edgevpr.data.image_folder import number_places, read_folder
from edgevpr.errors import DataError
from edgevpr.places.table import ImageTable

TABLE = "images.csv"


def read_images(root: Path) -> ImageTable:
    """The images of a folder, whichever layout it has; paths are relative to ``root``.

    In this order: an ``images.csv`` (see ``read_table``), GSV-Cities, ``@utm`` names or EXIF.

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
        return read_table(root)
    if is_gsv_cities(root):
        return read_gsv_cities(root)
    if (root / "database").is_dir() and (root / "queries").is_dir():
        raise DataError(
            f"found database/ and queries/ in {root}, expected one of the two: pass "
            f"{root}/database or {root}/queries"
        )
    return read_folder(root)


def read_table(root: Path) -> ImageTable:
    """A folder with an ``images.csv``: the way in for data whose places are known, not located.

    It has a column ``path``, relative to the folder, and ``place``, or ``easting`` and
    ``northing`` (with ``zone`` and ``letter``, unless they are metres of a local plane), or ``lat``
    and ``lon``. Images that the table does not name are not read.

    Raises:
        DataError: a missing column, images named there and missing, or rows without any place.
    """
    root = Path(root)
    table = ImageTable.load(root / TABLE)
    if not len(table):
        list_images(root)
        raise DataError(
            f"found no image named in {root / TABLE}, expected a row for each: complete the file"
        )
    missing_images(root, table.paths, str(root / TABLE))
    table = number_places(table.with_positions())
    nowhere = np.flatnonzero(table.place < 0)
    if len(nowhere):
        raise DataError(
            f"found {len(nowhere)} of the {len(table)} rows of {root / TABLE} without a place, the "
            f"first being {table.paths[nowhere[0]]}, expected a column place, or easting and "
            "northing, or lat and lon: complete the file"
        )
    return table
