"""Reader of an artifact's image tables: bounded, and every value in its range."""

import csv
import io
import math

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.manifest import Artifact
from edgevpr.errors import CorruptArtifactError, DataError
from edgevpr.places.table import ImageTable

#: Column -> least and most; unknown values aside (place -1, zone 0, nan).
RANGES = {
    "place": (-1, (1 << 63) - 1),
    "easting": (-1e7, 1e7),
    "northing": (-1e7, 2e7),
    "zone": (0, 60),
    "lat": (-90.0, 90.0),
    "lon": (-180.0, 180.0),
    "heading": (-360.0, 720.0),
}


def read_table(opened: Artifact, name: str) -> ImageTable:
    """An image table of an artifact; what is read is what was hashed.

    Raises:
        CorruptArtifactError: no table of images, or a value out of its range.
    """
    path = opened.path / name
    data = opened.bytes(name)
    try:
        stream = io.TextIOWrapper(
            io.BytesIO(data), encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
        table = ImageTable.read(path, enumerate(csv.reader(stream), 1))
    except (DataError, csv.Error, OverflowError, ValueError) as error:
        why = str(error).partition(", expected")[0].removeprefix("found ")
        raise CorruptArtifactError(
            f"found {why[:200]} in the table {path}, expected images and their positions: write it "
            f"again with {opened.command}"
        ) from error
    for column, (least, most) in RANGES.items():
        values: NDArray[np.generic] = getattr(table, column)
        bad = ~((values >= least) & (values <= most))  # type: ignore[operator]
        if values.dtype.kind == "f":
            bad &= ~np.isnan(values)
        if bad.any():
            row = int(np.argmax(bad))
            raise CorruptArtifactError(
                f"found {column} {values[row]} of {table.paths[row][:80]!r} in {path}, expected "
                f"{least:g} to {most if math.isinf(most) else format(most, 'g')}: write it again "
                f"with {opened.command}"
            )
    return table
