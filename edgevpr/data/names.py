"""The ``@utm`` file names that visual place recognition data sets share.

::

    @utm_east@utm_north@zone@letter@lat@lon@pano@tile@heading@pitch@roll@height@timestamp@note@.jpg

The convention, field order and number formats are those of VPR-datasets-downloader and of the Deep
Visual Geo-localization Benchmark (Berton et al., CVPR 2022): metres with two decimals and seven
digits, degrees with five decimals, zone with two digits, heading in whole degrees, timestamp as
``YYYYMMDD_hhmmss`` cut short from the right where less is known. Only east and north are required;
any other field may be empty, and trailing fields may be absent.

The convention has no field for a place id. Ours travels in the note, as ``place=17`` or
``place=17,what the note said``; ``pano`` is left to what it means elsewhere.
"""

import math
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from edgevpr.errors import DataError

FIELDS = (
    "utm_east", "utm_north", "zone", "letter", "lat", "lon", "pano", "tile", "heading", "pitch",
    "roll", "height", "timestamp", "note",
)  # fmt: skip
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$", re.ASCII)
_PLACE = re.compile(r"place=(\d+)(?:,(.*))?$", re.ASCII)
_LETTERS = "CDEFGHJKLMNPQRSTUVWX"
# 2019, 201901, 20190131, 20190131_12, _1230, _123000; ISO 8601 differs by its separators.
_TIME = re.compile(
    r"(\d{4})(?:-?(\d\d)(?:-?(\d\d)(?:[_T ](\d\d)(?::?(\d\d)(?::?(\d\d))?)?)?)?)?"
    r"(?:\.\d*)?(?:Z|[+-]\d\d:?\d\d)?$",
    re.ASCII,
)


@dataclass(frozen=True)
class UtmName:
    """Fields of an ``@utm`` name; those that were empty or absent keep these defaults."""

    easting: float  # UTM metres
    northing: float
    zone: int = 0  # 1 to 60, 0 unknown
    letter: str = ""  # latitude band, C to X
    lat: float = math.nan  # degrees
    lon: float = math.nan
    pano: str = ""
    tile: str = ""
    heading: float = math.nan  # degrees clockwise from north, as written
    pitch: str = ""
    roll: str = ""
    height: str = ""
    time: str = ""  # ISO 8601, as precise as the name was; "" also when it was something else
    note: str = ""  # without our place id
    place: int = -1


def format_utm_name(
    easting: float,
    northing: float,
    zone: int,
    letter: str,
    lat: float,
    lon: float,
    *,
    heading: float | None = None,
    time: str = "",
    note: str = "",
    place: int | str = "",
    ext: str = ".jpg",
) -> str:
    """The file name for an image at a position; ``parse_utm_name`` reads it back.

    Args:
        easting, northing: UTM metres, kept to the centimetre.
        zone: UTM zone number, 1 to 60; 0 leaves the field empty.
        letter: latitude band, or ``""``.
        lat, lon: degrees, kept to 1e-5 (about a metre); nan leaves the field empty.
        heading: degrees clockwise from north, kept to the degree; None or nan leaves it empty.
        time: ISO 8601 or ``YYYYMMDD_hhmmss``, either cut short from the right; fractions of a
            second and UTC offsets are dropped.
        note: free text without ``@`` and ``/``.
        place: place id, a number; ``""`` or -1 for none. Travels in the note.
        ext: file extension with its dot.

    Raises:
        DataError: a value that the name cannot hold.
    """
    for field, value in (("utm_east", easting), ("utm_north", northing)):
        if not math.isfinite(value):
            raise _cannot_hold(field, value, "a finite number of metres")
    if zone and not 1 <= zone <= 60:
        raise _cannot_hold("zone", zone, "a UTM zone from 1 to 60, or 0 for none")
    if letter and (len(letter) != 1 or letter not in _LETTERS):
        raise _cannot_hold("letter", letter, f"one of {_LETTERS}, or nothing")
    if "@" in note or "/" in note or not note.isprintable():
        raise _cannot_hold("note", note, "text without @, / and control characters")
    if place not in ("", -1, "-1"):
        if not re.fullmatch(r"\d+", str(place), re.ASCII):
            raise _cannot_hold("place", place, "a number from 0 on")
        note = f"place={place},{note}" if note else f"place={place}"
    elif _PLACE.match(note):
        raise _cannot_hold("note", note, "text that does not read as a place id")
    if not _EXTENSION.fullmatch(ext):
        raise _cannot_hold("ext", ext, "an extension such as .jpg")
    timestamp = _compact_time(time)
    if time and not timestamp:
        raise _cannot_hold("timestamp", time, "ISO 8601 or YYYYMMDD_hhmmss")
    fields = (
        _metres(easting),
        _metres(northing),
        f"{zone:02d}" if zone else "",
        letter,
        "" if math.isnan(lat) else f"{lat:09.5f}",
        "" if math.isnan(lon) else f"{lon:010.5f}",
        "",
        "",
        "" if heading is None or math.isnan(heading) else f"{round(heading) % 360:03d}",
        "",
        "",
        "",
        timestamp,
        note,
    )
    return "@" + "@".join(fields) + "@" + ext


def parse_utm_name(name: str) -> UtmName:
    """Read an ``@utm`` file name; folders before it are ignored.

    A timestamp that is not of the convention is read as unknown, not refused: data sets put
    other things there, and nothing is located by it.

    Raises:
        DataError: east or north is missing, or a number does not read as one; the message names
            the file and the field.
    """
    base = PurePosixPath(name).name
    extension = _EXTENSION.search(base)
    stem = base[: extension.start()] if extension else base
    if not stem.startswith("@"):
        raise DataError(
            f"found the image name {name}, expected one that starts with @utm_east@utm_north@: "
            "rename the file, or give its position in an images.csv"
        )
    values = dict(zip(FIELDS, stem[1:].split("@"), strict=False))
    place, note = -1, values.get("note", "")
    if match := _PLACE.match(note):
        place, note = int(match[1]), match[2] or ""
    zone = _number(name, values, "zone", 0.0)
    if zone != int(zone) or not 0 <= zone <= 60:
        raise _malformed(name, "zone", values["zone"], "a UTM zone from 1 to 60")
    letter = values.get("letter", "").upper()
    if letter and (len(letter) != 1 or letter not in _LETTERS):
        raise _malformed(name, "letter", letter, f"one of {_LETTERS}")
    return UtmName(
        easting=_number(name, values, "utm_east", None),
        northing=_number(name, values, "utm_north", None),
        zone=int(zone),
        letter=letter,
        lat=_number(name, values, "lat", math.nan),
        lon=_number(name, values, "lon", math.nan),
        pano=values.get("pano", ""),
        tile=values.get("tile", ""),
        heading=_number(name, values, "heading", math.nan),
        pitch=values.get("pitch", ""),
        roll=values.get("roll", ""),
        height=values.get("height", ""),
        time=iso_time(values.get("timestamp", "")),
        note=note,
        place=place,
    )


def iso_time(text: str) -> str:
    """``20190131_1230`` -> ``2019-01-31T12:30``; ISO 8601 stays; anything else -> ``""``."""
    match = _time(text)
    if match is None:
        return ""
    date = "-".join(part for part in match.groups()[:3] if part)
    clock = ":".join(part for part in match.groups()[3:] if part)
    return f"{date}T{clock}" if clock else date


def _time(text: str) -> "re.Match[str] | None":
    """The parts of a time, if a calendar and a clock know it: no year 0, 30 February or hour 24."""
    match = _TIME.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    try:
        datetime(
            year, 1 if match[2] is None else month, 1 if match[3] is None else day,
            hour, minute, min(second, 59),
        )  # fmt: skip
    except ValueError:
        return None
    return match if second <= 60 else None


def _compact_time(text: str) -> str:
    match = _time(text)
    if match is None:
        return ""
    date = "".join(part for part in match.groups()[:3] if part)
    clock = "".join(part for part in match.groups()[3:] if part)
    return f"{date}_{clock}" if clock else date


def _metres(value: float) -> str:
    return f"{value:010.2f}"


def _number(name: str, values: dict[str, str], field: str, default: float | None) -> float:
    text = values.get(field, "")
    if text == "" and default is not None:
        return default
    if not _NUMBER.match(text) or not math.isfinite(float(text)):
        raise _malformed(name, field, text, "a number")
    return float(text)


def _malformed(name: str, field: str, found: str, expected: str) -> DataError:
    return DataError(
        f"found {found!r} in the field {field} of the image name {name}, expected {expected}: "
        "rename the file, or give its position in an images.csv"
    )


def _cannot_hold(field: str, found: object, expected: str) -> DataError:
    return DataError(
        f"found {found!r} for the field {field} of an @utm name, expected {expected}: correct the "
        "value and write the image again"
    )
