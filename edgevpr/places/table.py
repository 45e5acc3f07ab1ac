"""Image tables: paths, place ids, UTM and geographic positions, headings, times.

Positions are UTM metres. Zone borders and the equator, where UTM metres jump, are handled where
distances are taken (``positives``).
"""

import csv
import io
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgevpr.errors import DataError
from edgevpr.files import write_atomic
from edgevpr.places.csv_rows import NOTHING, csv_rows
from edgevpr.places.utm import to_latlon, to_utm

__all__ = [
    "COLUMNS",
    "ImageTable",
    "concat",
    "to_latlon",
    "to_utm",
]

#: Columns of the CSV, in order. ``path`` is required when reading; the rest may be absent.
COLUMNS = (
    "path", "place", "easting", "northing", "zone", "letter", "lat", "lon", "heading", "time",
)  # fmt: skip
_INTEGERS = ("place", "zone")
#: What a column can hold: 64 bits, the zones of UTM.
_RANGES = {"place": (-1, 2**63 - 1), "zone": (0, 60)}
_FLOATS = ("easting", "northing", "lat", "lon", "heading")


@dataclass(frozen=True)
class ImageTable:
    """N images, column by column; row i is image i everywhere in edgevpr."""

    paths: list[str]  #: relative to the folder that was read, POSIX separators
    place: NDArray[np.int64]  #: (N,) place id, -1 unknown
    easting: NDArray[np.float64]  #: (N,) UTM metres, nan unknown
    northing: NDArray[np.float64]
    zone: NDArray[np.int64]  #: (N,) UTM zone number, 0 unknown
    letter: list[str]  #: UTM latitude band, "" unknown
    lat: NDArray[np.float64]  #: (N,) degrees, nan unknown
    lon: NDArray[np.float64]
    heading: NDArray[np.float64]  #: (N,) degrees clockwise from north, nan unknown
    time: list[str]  #: ISO 8601 or ""

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns of an image table differ in length: {lengths}")

    @classmethod
    def build(
        cls,
        paths: Sequence[str],
        *,
        place: ArrayLike | None = None,
        easting: ArrayLike | None = None,
        northing: ArrayLike | None = None,
        zone: ArrayLike | None = None,
        letter: Sequence[str] | None = None,
        lat: ArrayLike | None = None,
        lon: ArrayLike | None = None,
        heading: ArrayLike | None = None,
        time: Sequence[str] | None = None,
    ) -> "ImageTable":
        """A table of ``paths`` with the columns that are known; the others are filled as unknown.

        Nothing is derived here: see ``with_positions`` for UTM from degrees and back.
        """
        n = len(paths)

        def column(values: ArrayLike | None, unknown: float, dtype: type) -> NDArray[Any]:
            return np.full(n, unknown, dtype) if values is None else np.array(values, dtype)

        return cls(
            paths=list(paths),
            place=column(place, -1, np.int64),
            easting=column(easting, math.nan, np.float64),
            northing=column(northing, math.nan, np.float64),
            zone=column(zone, 0, np.int64),
            letter=[""] * n if letter is None else list(letter),
            lat=column(lat, math.nan, np.float64),
            lon=column(lon, math.nan, np.float64),
            heading=column(heading, math.nan, np.float64),
            time=[""] * n if time is None else list(time),
        )

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def xy(self) -> NDArray[np.float64]:
        """(N, 2) easting and northing, metres."""
        return np.stack([self.easting, self.northing], axis=1)

    @property
    def located(self) -> NDArray[np.bool_]:
        """(N,) which images have coordinates."""
        return np.isfinite(self.easting) & np.isfinite(self.northing)

    def take(self, rows: ArrayLike) -> "ImageTable":
        """The table of these rows, in this order; a boolean mask works too."""
        index = np.asarray(rows)
        picked = np.arange(len(self))[index if index.size else index.astype(np.int64)]
        columns: dict[str, Any] = {}
        for field in fields(self):
            values = getattr(self, field.name)
            taken = [values[row] for row in picked] if isinstance(values, list) else values[picked]
            columns[field.name] = taken
        return ImageTable(**columns)

    def with_positions(self) -> "ImageTable":
        """The same table with UTM filled in from degrees, and degrees from UTM, where missing."""
        easting, northing = self.easting.copy(), self.northing.copy()
        zone, letter = self.zone.copy(), list(self.letter)
        lat, lon = self.lat.copy(), self.lon.copy()
        need = ~self.located & np.isfinite(lat) & np.isfinite(lon)
        if need.any():
            easting[need], northing[need], zone[need], found = to_utm(lat[need], lon[need])
            for row, band in zip(np.flatnonzero(need), found, strict=True):
                letter[row] = band
        need = self.located & ~(np.isfinite(lat) & np.isfinite(lon))
        if need.any():
            bands = [letter[row] for row in np.flatnonzero(need)]
            lat[need], lon[need] = to_latlon(easting[need], northing[need], zone[need], bands)
        return ImageTable(
            self.paths, self.place, easting, northing, zone, letter, lat, lon, self.heading,
            self.time,
        )  # fmt: skip

    def save(self, path: Path) -> None:
        """Write as CSV, atomically; ``load`` gives back the very same numbers."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            zip(
                self.paths,
                self.place.tolist(),
                *(map(_text, getattr(self, name)) for name in ("easting", "northing")),
                self.zone.tolist(),
                self.letter,
                *(map(_text, getattr(self, name)) for name in ("lat", "lon", "heading")),
                self.time,
                strict=True,
            )
        )
        write_atomic(Path(path), stream.getvalue().encode("utf-8", "surrogateescape"))

    @classmethod
    def load(cls, path: Path) -> "ImageTable":
        """Read a CSV with a column ``path`` and any of the other ``COLUMNS``; more are ignored.

        Whole numbers may be written as 1.0, and a gap as nan, as pandas does. See ``csv_rows`` for
        encodings and delimiters.

        Raises:
            DataError: no such file, no ``path`` column, or a value that is not a number, or none
                that its column can hold.
        """
        path = Path(path)
        try:
            return cls.read(path, csv_rows(path))
        except FileNotFoundError:
            raise DataError(
                f"found no {path}, expected a CSV with the columns {', '.join(COLUMNS)}: "
                "check the path"
            ) from None

    @classmethod
    def read(cls, path: Path, lines: Iterator[tuple[int, list[str]]]) -> "ImageTable":
        """Read (line number, cells) of a CSV, the header first; ``load`` those of ``path``.

        Into columns as the lines come: as rows, a map of 100,000 images takes ten times as much
        memory, and a device has to have it.
        """
        header = [cell.strip() for cell in next(lines, (1, []))[1]]
        if "path" not in header:
            raise DataError(
                f"found the columns {', '.join(header) or '(none)'} in {path}, expected at least "
                f"path, and those known of {', '.join(COLUMNS[1:])}: add the missing column"
            )
        columns: dict[str, Any] = {}
        for name in header:
            if name in COLUMNS:
                number = "q" if name in _INTEGERS else "d" if name in _FLOATS else ""
                columns[name] = array(number) if number else []
        at_column = {name: i for i, name in enumerate(header)}
        wanted = [(name, at_column[name], kept) for name, kept in columns.items()]
        shared: dict[str, str] = {}  # letters and times repeat
        for line, row in lines:
            row += [""] * (len(header) - len(row))
            for name, at, kept in wanted:
                if name in _INTEGERS:
                    unknown = -1 if name == "place" else 0
                    kept.append(_parse(path, line, name, row[at], _whole, unknown))
                elif name in _FLOATS:
                    kept.append(_parse(path, line, name, row[at], float, math.nan))
                else:
                    kept.append(shared.setdefault(row[at], row[at]) if name != "path" else row[at])
        return cls.build(columns.pop("path"), **columns)


def concat(tables: Iterable[ImageTable]) -> ImageTable:
    """One table with the rows of all, in order; no tables give an empty one."""
    tables = list(tables)
    if not tables:
        return ImageTable.build([])
    columns: dict[str, Any] = {}
    for field in fields(ImageTable):
        parts = [getattr(table, field.name) for table in tables]
        joined = [x for part in parts for x in part] if isinstance(parts[0], list) else None
        columns[field.name] = np.concatenate(parts) if joined is None else joined
    return ImageTable(**columns)


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _whole(text: str) -> int:
    """7, 7.0 and 7e0 -> 7."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer():
            raise ValueError(text) from None
        return int(value)


def _parse(
    path: Path, line: int, name: str, text: str, kind: Callable[[str], Any], unknown: float
) -> Any:
    if not text or text.strip().lower() in NOTHING:
        return unknown
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    expected = "a number or nothing"
    try:
        value = kind(text)
        if low <= value <= high and math.isfinite(value):
            return value
        if name in _RANGES:
            expected = f"a number from {low} to {high}, or nothing"
    except (ValueError, OverflowError):
        pass
    raise DataError(
        f"found {text!r} in column {name} of line {line} of {path}, expected {expected}: correct "
        "the file"
    )
