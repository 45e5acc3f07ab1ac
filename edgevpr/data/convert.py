"""Converter of photos to an ``@utm`` folder, by EXIF, a CSV, a GPX track or KML placemarks."""

import csv
import math
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath

import numpy as np

from edgevpr.data.exif import read_exif
from edgevpr.data.image_files import list_images
from edgevpr.data.names import format_utm_name
from edgevpr.data.read import read_images
from edgevpr.errors import DataError, UsageError
from edgevpr.files import replacing
from edgevpr.places.utm import to_utm
from edgevpr.progress import Track, silent

#: Names that a column may have in a CSV of positions.
_PATH = ("path", "file", "filename", "name", "image")
_LAT, _LON = ("lat", "latitude"), ("lon", "lng", "long", "longitude")
#: A photo further than this from both neighbouring track points has no position.
GAP_S = 30.0


@dataclass(frozen=True)
class Fix:
    """Position of one photo in degrees, heading in degrees clockwise from north, ISO 8601 time."""

    lat: float
    lon: float
    heading: float = math.nan
    time: str = ""


@dataclass(frozen=True)
class Converted:
    """Photos written, and those left out for want of a position."""

    images: int
    without_position: list[str]


def convert(
    source: Path,
    out: Path,
    *,
    positions: Path | None = None,
    clock_offset_s: float = 0.0,
    track: Track = silent,
) -> Converted:
    """Copy photos to a new folder under ``@utm`` names.

    Args:
        source: folder of photos, searched recursively.
        out: a free place.
        positions: .csv (a file column, lat, lon, and heading or time where known), .gpx (matched
            by the photos' EXIF time) or .kml (placemarks named like the photos); None takes what
            the EXIF blocks or the ``images.csv`` have.
        clock_offset_s: seconds to add to the camera's clock to get UTC, for GPX.

    Raises:
        UsageError: something is at ``out`` already, or another kind of positions file.
        DataError: no photo has a position, or the positions cannot be read.
    """
    source, out = Path(source), Path(out).absolute()
    paths = list_images(source)
    fixes = _fixes(source, paths, positions, clock_offset_s)
    if not fixes:
        where = positions if positions is not None else "their EXIF blocks"
        raise DataError(
            f"found no position for any of the {len(paths)} photos of {source} in {where}, "
            "expected one each: check the file names, or correct the clock with `clock_offset_s`"
        )
    names = _names(fixes)

    def check() -> None:
        if out.exists():
            raise UsageError(
                f"found something at {out}, expected a free place: choose another `out`"
            )

    with replacing(out, check) as folder:
        for path in track(list(fixes), "copying photos", len(fixes)):
            shutil.copy2(source / path, folder / names[path])
    return Converted(len(fixes), [path for path in paths if path not in fixes])


def _names(fixes: dict[str, Fix]) -> dict[str, str]:
    """A name for each photo; what distinguishes photos of one spot goes into the note."""
    lat = np.array([fix.lat for fix in fixes.values()])
    lon = np.array([fix.lon for fix in fixes.values()])
    easting, northing, zone, letter = to_utm(lat, lon)
    names = {}
    for i, (path, fix) in enumerate(fixes.items()):
        file = PurePosixPath(path)
        note = "_".join(file.with_suffix("").parts).replace("@", "_")
        names[path] = format_utm_name(
            easting[i], northing[i], int(zone[i]), letter[i], fix.lat, fix.lon,
            heading=fix.heading, time=fix.time, note=note, ext=file.suffix.lower(),
        )  # fmt: skip
    return names


def _fixes(
    source: Path, paths: list[str], positions: Path | None, clock_offset_s: float
) -> dict[str, Fix]:
    if positions is None:
        return dict(_own(source, paths))
    if not positions.is_file():
        raise DataError(f"found no file {positions}, expected a .csv, .gpx or .kml: check the path")
    kind = positions.suffix.lower()
    if kind == ".csv":
        named = _csv(positions)
    elif kind == ".kml":
        named = _kml(positions)
    elif kind == ".gpx":
        return dict(_along(source, paths, _gpx(positions), clock_offset_s))
    else:
        raise UsageError(
            f"found {positions}, a {kind or 'nameless'} file, expected .csv, .gpx or .kml: pass "
            "one of these as `positions`"
        )
    found = {}
    for path in paths:
        file = PurePosixPath(path)
        for key in (path, file.name, file.stem):
            if key in named:
                found[path] = named[key]
                break
    return found


def _own(source: Path, paths: list[str]) -> Iterator[tuple[str, Fix]]:
    if (source / "images.csv").is_file():
        table = read_images(source).with_positions()
        for i, path in enumerate(table.paths):
            if math.isfinite(table.lat[i]):
                yield path, Fix(table.lat[i], table.lon[i], table.heading[i], table.time[i])
        return
    for path in paths:
        exif = read_exif(source / path)
        if not math.isnan(exif.lat):
            yield path, Fix(exif.lat, exif.lon, exif.heading, exif.time)


def _csv(file: Path) -> dict[str, Fix]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        columns = {name.strip().lower(): name for name in reader.fieldnames or []}
        keys = []
        for wanted in (_PATH, _LAT, _LON):
            name = next((columns[w] for w in wanted if w in columns), None)
            if name is None:
                raise DataError(
                    f"found the columns {', '.join(columns) or 'none'} in {file}, expected one of "
                    f"{', '.join(wanted)}: add it to the first line"
                )
            keys.append(name)
        path, lat, lon = keys
        heading, time = columns.get("heading", ""), columns.get("time", "")
        return {
            row[path]: Fix(
                *_degrees(row[lat], row[lon], f"{file}, row {number}"),
                float(row.get(heading) or "nan"),
                row.get(time) or "",
            )
            for number, row in enumerate(reader, 2)
        }


def _kml(file: Path) -> dict[str, Fix]:
    found = {}
    for mark in _elements(file, "Placemark"):
        name = next((e.text for e in mark.iter() if _tag(e) == "name" and e.text), None)
        text = next((e.text for e in mark.iter() if _tag(e) == "coordinates" and e.text), None)
        if name is None or text is None:
            continue
        lon, _, rest = text.split()[0].partition(",")
        lat = rest.partition(",")[0]
        found[name.strip()] = Fix(*_degrees(lat, lon, f"{file}, placemark {name}"))
    return found


def _gpx(file: Path) -> list[tuple[float, float, float]]:
    """(seconds since 1970, lat, lon) of every track point with a time, in order of time."""
    points = []
    for point in _elements(file, "trkpt"):
        text = next((e.text for e in point if _tag(e) == "time" and e.text), None)
        if text is not None:
            where = _degrees(point.get("lat"), point.get("lon"), f"{file}, track point {text}")
            points.append((_seconds(text.strip()), *where))
    if len(points) < 2:
        raise DataError(
            f"found {len(points)} track points with a time in {file}, expected at least 2: export "
            "the track again, times included"
        )
    return sorted(points)


def _along(
    source: Path,
    paths: list[str],
    points: list[tuple[float, float, float]],
    clock_offset_s: float,
) -> Iterator[tuple[str, Fix]]:
    """Positions between track points, by the photos' times; none across a gap of the track."""
    seconds, lat, lon = np.array(points).T
    for path in paths:
        taken = read_exif(source / path).time
        if not taken:
            continue
        moment = _seconds(taken) + clock_offset_s
        after = int(np.searchsorted(seconds, moment))
        around = [i for i in (after - 1, after) if 0 <= i < len(seconds)]
        if len(around) < 2 and abs(seconds[around[0]] - moment) > 0:
            continue
        if min(abs(seconds[i] - moment) for i in around) > GAP_S:
            continue
        # Longitudes are unwrapped, so that a track over the date line does not cross the globe.
        here = np.unwrap(lon[around], period=360.0)
        at = np.interp(moment, seconds[around], here)
        yield (
            path,
            Fix(
                float(np.interp(moment, seconds[around], lat[around])),
                float((at + 180) % 360 - 180),
                time=_iso(moment),
            ),
        )


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def _iso(seconds: float) -> str:
    start = datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (start + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def _degrees(lat: str | None, lon: str | None, where: str) -> tuple[float, float]:
    try:
        values = float(lat or ""), float(lon or "")
    except ValueError:
        values = math.nan, math.nan
    if not (abs(values[0]) <= 90 and abs(values[1]) <= 180):
        raise DataError(
            f"found latitude {lat!r} and longitude {lon!r} in {where}, expected degrees within 90 "
            "and 180: correct the file"
        )
    return values


def _elements(file: Path, tag: str) -> Iterator[ElementTree.Element]:
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise DataError(
            f"found no XML in {file} ({error}), expected a complete file: export it again"
        ) from error
    return (element for element in root.iter() if _tag(element) == tag)


def _tag(element: ElementTree.Element) -> str:
    """The name without its namespace."""
    return element.tag.rpartition("}")[2]
