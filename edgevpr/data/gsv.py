"""Reader of the GSV-Cities layout (Ali-bey et al., Neurocomputing 2022).

::

    Images/<City>/<City>_<place, 7 digits>_<year>_<month>_<northdeg, 3 digits>_<lat>_<lon>_<panoid>.JPG
    Dataframes/<City>.csv    place_id,year,month,northdeg,city_id,lat,lon,panoid

Place ids count from 0 in every city. Its own code tells cities apart by adding 10^5 per city and
takes ids modulo 10^5 to name the files; we add 10^7, as many as the names have digits for, and
number the cities by their order in ``Dataframes``, so a place has the same id whichever cities are
read with it.
"""  # noqa: E501

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgevpr.data.image_files import EXTENSIONS, lacking
from edgevpr.data.left_out import LeftOut
from edgevpr.errors import DataError
from edgevpr.places.csv_rows import csv_rows
from edgevpr.places.table import ImageTable, to_utm

COLUMNS = ("place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid")
_INTEGERS = ("place_id", "year", "month", "northdeg")
#: pandas writes whole numbers as 7.0 where another row of the column has a gap.
_WHOLE = re.compile(r"(?<=\d)\.0+$", re.ASCII)
PLACES_PER_CITY = 10**7


def is_gsv_cities(root: Path) -> bool:
    """Whether ``root`` has the two folders of the layout."""
    return (root / "Images").is_dir() and (root / "Dataframes").is_dir()


def read_gsv_cities(
    root: Path, cities: Sequence[str] | None = None, *, left_out: list[LeftOut] | None = None
) -> ImageTable:
    """The images of these cities (all by default), in the order of their CSV files.

    File extensions are found on the disk, in either case: copies of the data set differ.

    Args:
        left_out: gets the images named in a CSV and missing on the disk; None: they are errors.

    Raises:
        DataError: no CSV, an unknown city, a missing column, a value that is not a number, or
            images named in a CSV and missing on the disk (their count and the first).
    """
    root = Path(root)
    known = sorted(path.stem for path in (root / "Dataframes").glob("*.csv"))
    if not known:
        raise DataError(
            f"found no CSV in {root / 'Dataframes'}, expected one for each city of the GSV-Cities "
            "layout: check the path"
        )
    for city in cities or ():
        if city not in known:
            raise DataError(
                f"found no city {city} in {root / 'Dataframes'}, expected some of "
                f"{', '.join(known)}: correct its name"
            )
    found = _Columns()
    disk: dict[str, dict[str, str]] = {}
    for number, city in enumerate(known):
        if cities is None or city in cities:
            _read_city(root, city, number, found, disk)
    if found.missing and left_out is not None and found.paths:
        left_out += [
            LeftOut(path, "named in a CSV, but there is no such file") for path in found.missing
        ]
    elif found.missing:
        total = len(found.paths) + len(found.missing)
        raise lacking(found.missing, total, root, f"{root / 'Dataframes'}")
    if not found.paths:
        raise DataError(
            f"found no image named in the CSV files in {root / 'Dataframes'}, expected a row for "
            "each: check the data set"
        )
    easting, northing, zone, letter = to_utm(found.lat, found.lon)
    return ImageTable.build(
        found.paths, place=found.place, easting=easting, northing=northing, zone=zone,
        letter=letter, lat=found.lat, lon=found.lon, heading=found.heading, time=found.time,
    )  # fmt: skip


@dataclass
class _Columns:
    """Columns of the images read so far, and the paths of those missing on the disk."""

    paths: list[str] = field(default_factory=list)
    place: list[int] = field(default_factory=list)
    lat: list[float] = field(default_factory=list)
    lon: list[float] = field(default_factory=list)
    heading: list[float] = field(default_factory=list)
    time: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def _read_city(
    root: Path, city: str, number: int, columns: _Columns, disk: dict[str, dict[str, str]]
) -> None:
    """Append the images of one city; ``disk`` caches ``_stems`` of the image folders."""
    file = root / "Dataframes" / f"{city}.csv"
    for line, row in _rows(file):
        place = _place(file, line, row)
        folder = row["city_id"]
        if folder not in disk:
            disk[folder] = _stems(root / "Images" / folder)
        candidates = list(_image_names(row))
        stem = next((name for name in candidates if name in disk[folder]), None)
        if stem is None:
            columns.missing.append(f"Images/{folder}/{candidates[0]}.JPG")
            continue
        columns.paths.append(f"Images/{folder}/{disk[folder][stem]}")
        columns.place.append(number * PLACES_PER_CITY + place)
        columns.lat.append(_number(file, line, row, "lat"))
        columns.lon.append(_number(file, line, row, "lon"))
        columns.heading.append(_number(file, line, row, "northdeg"))
        columns.time.append(f"{row['year'].zfill(4)}-{row['month'].zfill(2)}")


def gsv_image_name(row: Mapping[str, str]) -> str:
    """Name of the image of a CSV row, without extension: ``Lund_0000007_2021_05_090_...``."""
    return "_".join(
        [
            row["city_id"],
            row["place_id"].zfill(7),
            row["year"].zfill(4),
            row["month"].zfill(2),
            row["northdeg"].zfill(3),
            row["lat"],
            row["lon"],
            row["panoid"],
        ]
    )


def _image_names(row: dict[str, str]) -> Iterator[str]:
    """Names the image may have: degrees as written or as pandas prints them, id whole or modulo."""
    shortest = {name: _shortest(row[name]) for name in ("lat", "lon")}
    for place in dict.fromkeys((row["place_id"], row["place_id"][-5:])):
        yield gsv_image_name({**row, "place_id": place})
        yield gsv_image_name({**row, "place_id": place, **shortest})


def _shortest(text: str) -> str:
    try:
        return repr(float(text))
    except ValueError:
        return text


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    rows = csv_rows(file)
    header = [cell.strip() for cell in next(rows, (1, []))[1]]
    absent = [name for name in COLUMNS if name not in header]
    if absent:
        raise DataError(
            f"found no column {absent[0]} in {file}, expected {', '.join(COLUMNS)}: complete the "
            "file"
        )
    at = {name: header.index(name) for name in COLUMNS}
    for line, cells in rows:
        cells += [""] * (len(header) - len(cells))
        row = {name: cells[i].strip() for name, i in at.items()}
        yield line, {**row, **{name: _WHOLE.sub("", row[name]) for name in _INTEGERS}}


def _stems(folder: Path) -> dict[str, str]:
    """File name by name without extension, of the images in ``folder``."""
    if not folder.is_dir():
        return {}
    return {file.stem: file.name for file in folder.iterdir() if file.suffix.lower() in EXTENSIONS}


def _place(file: Path, line: int, row: dict[str, str]) -> int:
    text = row["place_id"]
    if not (text.isdecimal() and int(text) < PLACES_PER_CITY):
        raise _not_a_number(file, line, "place_id", text)
    return int(text)


def _number(file: Path, line: int, row: dict[str, str], name: str) -> float:
    try:
        return float(row[name])
    except ValueError:
        raise _not_a_number(file, line, name, row[name]) from None


def _not_a_number(file: Path, line: int, name: str, found: str) -> DataError:
    expected = "a whole number from 0 to 9999999" if name == "place_id" else "a number"
    return DataError(
        f"found {found!r} in column {name} of line {line} of {file}, expected {expected}: correct "
        "the file"
    )
