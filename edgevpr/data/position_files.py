"""Positions of photos in a CSV or in KML placemarks, matched to the photos by their names."""

import math
import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgevpr.data.left_out import LeftOut, printable
from edgevpr.data.names import iso_time
from edgevpr.data.readings import degrees, heading, position_problem
from edgevpr.errors import DataError
from edgevpr.places.csv_rows import NOTHING, csv_rows, recoded

#: Names that a column may have in a CSV of positions, the first one found being taken. They are
#: compared in lower case without blanks, signs, units and exiftool's groups: "GPS Latitude (deg)".
_PATH = (
    "path", "file", "filename", "filepath", "sourcefile", "name", "image", "imagename", "imagepath",
    "imagefile", "photo",
)  # fmt: skip
_LAT = ("lat", "latitude", "gpslatitude", "gpslat")
_LON = ("lon", "lng", "long", "longitude", "gpslongitude", "gpslon", "gpslng", "gpslong")
_HEADING = (
    "heading", "trueheading", "gpsimgdirection", "imgdirection", "direction", "compassangle",
    "compass", "bearing", "azimuth", "yaw", "angle", "course", "cog", "gpstrack", "northdeg", "ca",
)  # fmt: skip
_TIME = (
    "time", "datetime", "timestamp", "datetimeoriginal", "capturetime", "capturedat", "date",
    "createdate", "gpsdatetime",
)  # fmt: skip


@dataclass(frozen=True)
class Fix:
    """Position of one photo in degrees, heading in degrees clockwise from north, ISO 8601 time."""

    lat: float
    lon: float
    heading: float = math.nan
    time: str = ""


@dataclass(frozen=True)
class PositionRow:
    """What a file says of one photo: its name there, where that stands, and a fix or why none."""

    name: str
    where: str
    fix: Fix | None
    problem: str = ""


def csv_positions(file: Path, left_out: list[LeftOut]) -> list[PositionRow]:
    """The rows of a CSV with a column of file names, lat and lon, and heading or time if known.

    A heading or a time that makes no sense is unknown, which ``left_out`` notes.

    Raises:
        DataError: no table, or one of the three columns is missing.
    """
    lines = csv_rows(file)
    header = [_plain(cell) for cell in next(lines, (1, []))[1]]
    path, lat, lon = (_column(header, names) for names in (_PATH, _LAT, _LON))
    for at, wanted in ((path, _PATH), (lat, _LAT), (lon, _LON)):
        if at is None:
            raise DataError(
                f"found the columns {', '.join(header) or '(none)'} in {file}, expected one of "
                f"{', '.join(wanted)}: add it to the first line"
            )
    angle, time = _column(header, _HEADING), _column(header, _TIME)
    letters = [_column(header, [f"{name}ref" for name in names]) for names in (_LAT, _LON)]
    reference = None if angle is None else _column(header, [f"{header[angle]}ref"])
    rows = []
    for line, cells in lines:

        def cell(at: int | None, cells: list[str] = cells) -> str:
            said = cells[at].strip() if at is not None and at < len(cells) else ""
            return "" if said.lower() in NOTHING else said

        where = f"{file.name}, line {line}"
        texts = cell(lat), cell(lon)
        refs = [None if at is None else cell(at) for at in letters]
        here = (
            degrees(texts[0], latitude=True, letter=refs[0]),
            degrees(texts[1], latitude=False, letter=refs[1]),
        )
        problem = position_problem(*here)
        if problem == "no position" and any(texts):
            problem = f"latitude {texts[0]!r} and longitude {texts[1]!r}, which are no degrees"
        turned, taken = heading(cell(angle), cell(reference)), _time(cell(time))
        if cell(angle) and math.isnan(turned):
            magnetic = cell(reference).lower().startswith("m")
            why = "from magnetic north" if magnetic else "no degrees"
            left_out.append(LeftOut(where, f"the heading {cell(angle)!r} is {why}: unknown"))
        if cell(time) and not taken:
            left_out.append(LeftOut(where, f"the time {cell(time)!r} is no date and time: unknown"))
        fix = None if problem else Fix(*here, turned, taken)
        rows.append(PositionRow(recoded(cell(path)), where, fix, problem))
    return rows


def kml_positions(file: Path) -> list[PositionRow]:
    """The placemarks of a KML file that have a name.

    Raises:
        DataError: the file is no XML.
    """
    rows = []
    for mark in elements(file, "Placemark"):
        name = next((e.text for e in mark.iter() if tag_of(e) == "name" and e.text), None)
        if name is None or not name.strip():
            continue
        points = [e for e in mark.iter() if tag_of(e) == "Point"] or [mark]
        text = next((e.text for e in points[0].iter() if tag_of(e) == "coordinates"), None) or ""
        numbers = re.split(r"\s*,\s*|\s+", text.strip())
        lon, lat = numbers[:2] if len(numbers) > 1 else ("", "")
        here = degrees(lat, latitude=True), degrees(lon, latitude=False)
        problem = position_problem(*here)
        if problem == "no position" and text.strip():
            problem = f"coordinates {text.strip()!r}, which are no degrees"
        where = f"{file.name}, placemark {name.strip()}"
        rows.append(PositionRow(name.strip(), where, None if problem else Fix(*here), problem))
    return rows


def match_rows(
    source: Path, paths: Sequence[str], rows: Sequence[PositionRow], left_out: list[LeftOut]
) -> dict[str, Fix]:
    """The fix of each photo that a row names: by its path, or the last parts of it.

    The extension may be missing; where no name fits to the letter, case does not count. A row
    without a photo, a name that several photos have, and photos whose rows contradict each other
    are left out.
    """
    exact, folded = _by_name(source, paths)
    named: dict[str, list[PositionRow]] = defaultdict(list)
    for row in rows:
        key = _key(row.name)
        photos = exact.get(key) or folded.get(_folded(key)) or []
        if not key or not photos:
            left_out.append(LeftOut(row.where, f"no photo {row.name!r}" if key else "no file name"))
        elif len({PurePosixPath(photo).with_suffix("") for photo in photos}) > 1:
            left_out.append(
                LeftOut(row.where, f"{len(photos)} photos are called {row.name!r}: write the path")
            )
        else:
            for photo in photos:
                named[photo].append(row)
    found = {}
    for photo, its_rows in named.items():
        fixes = {repr(row.fix): row.fix for row in its_rows if row.fix is not None}
        spots = {(fix.lat, fix.lon) for fix in fixes.values() if fix is not None}
        first = next(iter(fixes.values()), None)
        if first is not None and len(spots) == 1:
            found[photo] = first
            continue
        where = " and ".join(row.where for row in its_rows[:2])
        why = f"{len(spots)} positions ({where})" if spots else f"{its_rows[0].problem} ({where})"
        left_out.append(LeftOut(photo, why))
    return {photo: found[photo] for photo in paths if photo in found}


def _by_name(
    source: Path, paths: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Photos by every name a row may give them, to the letter and without case."""
    exact: dict[str, list[str]] = defaultdict(list)
    folded: dict[str, list[str]] = defaultdict(list)
    above = source.resolve().parts[1:]
    for path in paths:
        file = PurePosixPath(*above, path)
        for last in (file.name, file.stem):
            parts = (*file.parts[:-1], last)
            for start in range(len(parts)):
                key = unicodedata.normalize("NFC", recoded("/".join(parts[start:])))
                exact[key].append(path)
                folded[_folded(key)].append(path)
    return exact, folded


def _key(name: str) -> str:
    """A row's name of a photo as the last parts of a path."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    while parts and (parts[0] == ".." or re.fullmatch("[A-Za-z]:", parts[0])):
        parts = parts[1:]
    return unicodedata.normalize("NFC", "/".join(parts))


def _folded(key: str) -> str:
    return unicodedata.normalize("NFC", key.casefold())


def _plain(column: str) -> str:
    """``EXIF:GPS Latitude (deg)`` -> ``gpslatitude``."""
    name = re.sub(r"[(\[].*?[)\]]", "", printable(column).lower()).rpartition(":")[2]
    name = re.sub(r"[^a-z0-9]", "", name)
    return re.sub(r"(?<=.)(degrees|deg)$", "", name) if name != "northdeg" else name


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _time(text: str) -> str:
    """ISO 8601 of what a cell says, also as exiftool writes dates; "" if it makes no sense."""
    match = re.fullmatch(r"(\d{4})[:/](\d\d)[:/](\d\d)(.*)", text, re.ASCII)
    return iso_time(f"{match[1]}-{match[2]}-{match[3]}{match[4]}" if match else text)


def elements(file: Path, tag: str) -> Iterator[ElementTree.Element]:
    """The elements of this name in an XML file, whatever its namespace.

    Raises:
        DataError: the file is no XML.
    """
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, UnicodeError, LookupError, ValueError) as error:
        raise DataError(
            f"found no XML in {file} ({error}), expected a complete file: export it again"
        ) from error
    return (element for element in root.iter() if tag_of(element) == tag)


def tag_of(element: ElementTree.Element) -> str:
    """The name without its namespace."""
    return str(element.tag).rpartition("}")[2]
