"""Position, heading and time of a photo, from its EXIF block (CIPA DC-008, GPS and Exif IFDs)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevpr.data.names import iso_time
from edgevpr.errors import DataError
from edgevpr.optional import require

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_DATE_TIME_ORIGINAL = 0x9003
_LAT_REF, _LAT, _LON_REF, _LON, _DIRECTION = 1, 2, 3, 4, 17


@dataclass(frozen=True)
class Exif:
    """Degrees, nan where the photo does not say; time as ISO 8601 (local, as cameras write it)."""

    lat: float = math.nan
    lon: float = math.nan
    heading: float = math.nan
    time: str = ""


def read_exif(path: Path) -> Exif:
    """Read one photo's EXIF; tags that are absent or senseless are unknown, not errors.

    Raises:
        DataError: the file is not an image that Pillow can open.
        MissingExtraError: Pillow is not installed.
    """
    image_module = require("PIL.Image", extra="train")
    try:
        with image_module.open(path) as image:
            tags = image.getexif()
            gps, exif = tags.get_ifd(_GPS_IFD), tags.get_ifd(_EXIF_IFD)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"found no readable image in {path} ({error}), expected a complete JPEG or PNG: "
            "replace or remove the file and run the command again"
        ) from error
    lat = _degrees(gps, _LAT, _LAT_REF, "S", 90.0)
    lon = _degrees(gps, _LON, _LON_REF, "W", 180.0)
    if math.isnan(lat) or math.isnan(lon):
        lat = lon = math.nan
    heading = _real(gps.get(_DIRECTION))
    date, _, clock = str(exif.get(_DATE_TIME_ORIGINAL, "")).partition(" ")
    return Exif(
        lat=lat,
        lon=lon,
        heading=heading if 0 <= heading <= 360 else math.nan,
        time=iso_time(f"{date.replace(':', '-')}T{clock}") if clock else "",
    )


def _degrees(gps: Mapping[int, Any], tag: int, ref: int, negative: str, limit: float) -> float:
    """Degrees, minutes, seconds -> signed degrees; nan unless all three are numbers."""
    parts = gps.get(tag)
    if not isinstance(parts, tuple | list) or len(parts) != 3:
        return math.nan
    value = sum(_real(part) / scale for part, scale in zip(parts, (1, 60, 3600), strict=True))
    if not 0 <= value <= limit:
        return math.nan
    return -value if str(gps.get(ref, "")).strip().upper() == negative else value


def _real(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return math.nan
