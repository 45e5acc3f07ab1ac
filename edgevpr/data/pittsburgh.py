"""Reader of Pittsburgh in its original layout, 30k and 250k.

``000/000000_pitch1_yaw1.jpg`` to ``010/``, ``queries_real/000/...``, and the MATLAB files of
NetVLAD's authors (``pitts30k_test.mat``, here or in ``datasets/``), which hold names and UTM metres
of zone 17T: the variable ``dbStruct`` with ``dbImageFns``, ``utmDb``, ``qImageFns`` and ``utmQ``.
The lists of gsv-cities and OpenVPRLab (``pitts30k_test_dbImages.npy``) have no positions, and their
positives are pickles, which are not read.
"""

from pathlib import Path
from typing import Any

import numpy as np

from edgevpr.data.image_files import missing_images
from edgevpr.errors import DataError
from edgevpr.optional import require
from edgevpr.places.table import ImageTable

QUERIES = "queries_real"
ZONE, LETTER = 17, "T"
#: Folder, field of the names and field of the metres of the database and of the queries.
_SIDES = (("", "dbImageFns", "utmDb"), (f"{QUERIES}/", "qImageFns", "utmQ"))


def pittsburgh_file(root: Path, name: str, split: str) -> Path | None:
    """The MATLAB file of a set (``pitts30k``, ``pitts250k``) and split; None where it is not."""
    for folder in (Path(root), Path(root) / "datasets"):
        file = folder / f"{name}_{split}.mat"
        if file.is_file() and (Path(root) / QUERIES).is_dir():
            return file
    return None


def read_pittsburgh(root: Path, file: Path) -> tuple[ImageTable, ImageTable]:
    """(database, queries) that a MATLAB file names, in its order; paths are relative to ``root``.

    Raises:
        DataError: the file cannot be read, or images that it names are missing.
        MissingExtraError: scipy is not installed.
    """
    struct = _struct(file)
    sides = []
    for prefix, names, metres in (
        ("", "dbImageFns", "utmDb"),
        (f"{QUERIES}/", "qImageFns", "utmQ"),
    ):
        try:
            paths = [f"{prefix}{_text(cell)}" for cell in np.ravel(struct[names])]
            east, north = np.asarray(struct[metres], float).reshape(2, len(paths))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"found no {names} and {metres} of one length in {file} ({error}), expected "
                "NetVLAD's dbStruct: copy the file again"
            ) from None
        missing_images(root, paths, str(file))
        sides.append(
            ImageTable.build(
                paths, easting=east, northing=north, zone=[ZONE] * len(paths),
                letter=[LETTER] * len(paths),
            ).with_positions()
        )  # fmt: skip
    return sides[0], sides[1]


def _struct(file: Path) -> dict[str, Any]:
    """Fields of the variable dbStruct."""
    scipy = require("scipy.io", extra="train")
    try:
        found = scipy.loadmat(file, variable_names=["dbStruct"])["dbStruct"]
        record = found[(0,) * found.ndim]
        return {name: record[name] for name in record.dtype.names}
    except Exception as error:  # scipy raises what its parser meets: IndexError, zlib.error, ...
        raise DataError(
            f"found {file} unreadable ({error}), expected a MATLAB file with dbStruct: copy it "
            "again"
        ) from None


def _text(cell: Any) -> str:
    """The text in a cell of a cell array, or of a row of a char matrix."""
    while isinstance(cell, np.ndarray):
        cell = cell.item()
    return str(cell).strip()
