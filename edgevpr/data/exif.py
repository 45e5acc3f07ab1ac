"""Position, heading and time of a photo, from its EXIF block (CIPA DC-008, GPS and Exif IFDs)."""

import contextlib
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgevpr.data.names import iso_time
from edgevpr.data.readings import (
    heading,
    position_problem,
    sexagesimal,
    sign,
    signed,
    text,
    utc_offset_s,
)
from edgevpr.errors import DataError
from edgevpr.optional import require

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_DATE_TIME = 0x0132
_LAT_REF, _LAT, _LON_REF, _LON, _STATUS, _DIRECTION_REF, _DIRECTION = 1, 2, 3, 4, 9, 16, 17
#: (time, its UTC offset) of the shutter, of digitizing, of the last change to the file.
_SHUTTER, _DIGITIZED = (0x9003, 0x9011), (0x9004, 0x9012)
_CHANGED_OFFSET = 0x9010
#: Some cameras write the offset behind the time.
_OWN_OFFSET = re.compile(r"(?<=[\d ])(Z|[+-]\d\d:?\d\d)$")


@dataclass(frozen=True)
class Exif:
    """Degrees, nan where the photo does not say; time as ISO 8601 (local, as cameras write it)."""

    lat: float = math.nan
    lon: float = math.nan
    heading: float = math.nan
    time: str = ""
    #: seconds that the camera's clock was ahead of UTC; nan where the photo does not say.
    utc_offset_s: float = math.nan
    #: why there is no position, in words.
    problem: str = field(default="", repr=False)


def read_exif(path: Path) -> Exif:
    """Read one photo's EXIF; tags that are absent or senseless are unknown, not errors.

    The letters of the hemispheres must be there (or minus signs); 0, 0 and a status V are a
    receiver without a fix. A heading from magnetic north is unknown.

    Raises:
        DataError: the file is not an image that Pillow can open.
        MissingExtraError: Pillow is not installed.
    """
    image_module = require("PIL.Image", extra="photos")
    try:
        with _of_any_size(image_module), image_module.open(path) as image:
            tags = image.getexif()
            gps, exif = tags.get_ifd(_GPS_IFD), tags.get_ifd(_EXIF_IFD)
            changed = tags.get(_DATE_TIME)
    except Exception as error:  # Pillow's plugins raise nearly everything on damaged files
        raise DataError(
            f"found no readable image in {path} ({error}), expected a complete JPEG or PNG: "
            "replace or remove the file and run the command again"
        ) from error
    lat, lon, problem = _position(gps)
    time, offset = _time(exif, changed)
    return Exif(
        lat=lat,
        lon=lon,
        heading=heading(gps.get(_DIRECTION), gps.get(_DIRECTION_REF)),
        time=time,
        utc_offset_s=offset,
        problem=problem,
    )


@contextlib.contextmanager
def _of_any_size(image_module: Any) -> Iterator[None]:
    """Let Pillow open panoramas: only headers are read here, never pixels."""
    limit = image_module.MAX_IMAGE_PIXELS
    image_module.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged EXIF blocks, which are unknown
            yield
    finally:
        image_module.MAX_IMAGE_PIXELS = limit


def _position(gps: Mapping[int, Any]) -> tuple[float, float, str]:
    """(lat, lon, why there is none)."""
    lat = _degrees(gps, _LAT, _LAT_REF, latitude=True)
    lon = _degrees(gps, _LON, _LON_REF, latitude=False)
    if _LAT not in gps or _LON not in gps:
        problem = "no position"
    elif text(gps.get(_STATUS)).upper() == "V":
        problem = "GPSStatus V, a receiver without a fix"
    elif math.isnan(lat) or math.isnan(lon):
        problem = "a GPS position without its hemisphere or its numbers"
    else:
        problem = position_problem(lat, lon)
    return (math.nan, math.nan, problem) if problem else (lat, lon, "")


def _degrees(gps: Mapping[int, Any], tag: int, ref: int, *, latitude: bool) -> float:
    """Degrees, minutes, seconds -> signed degrees; nan unless they and the letter make sense."""
    parts = gps.get(tag)
    size = sexagesimal(parts if isinstance(parts, tuple | list) else (parts,))
    return signed(size, sign(gps.get(ref), latitude=latitude))


def _time(exif: Mapping[int, Any], changed: Any) -> tuple[str, float]:
    """(time of the shutter, seconds it was ahead of UTC), from its tags or their siblings.

    The offset of another time than the shutter's counts where that time is the same one, or absent:
    a program that changed the file later may have run in another zone.
    """
    taken = _iso(exif.get(_SHUTTER[0]))
    digitized, changed = _iso(exif.get(_DIGITIZED[0])), _iso(changed)
    time = taken or digitized
    if own := _OWN_OFFSET.search(text(exif.get((_SHUTTER if taken else _DIGITIZED)[0]))):
        return time, utc_offset_s(own[0])
    said = [(time if taken else "-", _SHUTTER[1]), (digitized, _DIGITIZED[1])]
    for of, tag in [*said, (changed, _CHANGED_OFFSET)]:
        offset = utc_offset_s(exif.get(tag))
        if of in ("", time) and not math.isnan(offset):
            return time, offset
    return time, math.nan


def _iso(value: Any) -> str:
    date, _, clock = text(value).partition(" ")
    return iso_time(f"{date.replace(':', '-')}T{clock.strip()}") if clock else ""
