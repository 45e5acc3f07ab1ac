"""Reading of degrees, headings and times as cameras, recorders and spreadsheets write them.

What cannot be read is unknown (nan), never zero and never north-east.
"""

import math
import re
from datetime import datetime, timedelta, timezone
from typing import Any

#: What a hemisphere may be called; anything else does not say.
_SIGNS = {
    "n": 1, "north": 1, "e": 1, "east": 1, "s": -1, "south": -1, "w": -1, "west": -1,
}  # fmt: skip
_OF_LATITUDE = frozenset({"n", "north", "s", "south"})
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
#: What may stand between and behind the numbers of degrees, minutes and seconds.
_MARKS = r"(?:deg(?:rees)?|[\s°º˚'\u2032\u2019\"\u2033\u201d:d])"
_ANGLE = re.compile(
    rf"\s*{_NUMBER}(?:{_MARKS}+{_NUMBER}){{0,2}}{_MARKS}*", re.ASCII | re.IGNORECASE
)
_LETTERS = re.compile(r"^[A-Za-z]+|[A-Za-z]+$")
_MOMENT = re.compile(
    r"(\d{4})[-:/]?(\d\d)[-:/]?(\d\d)[T _]+(\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?"
    r"\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)?", re.ASCII)
#: Beyond these no clock on earth is from UTC, hours.
_MAX_OFFSET_H = 14


def real(value: Any) -> float:
    """A finite number, or nan: EXIF fractions over 0, text and None are unknown."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def text(value: Any) -> str:
    """Text of an EXIF tag or a cell, without the NULs and blanks that pad it."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return "" if value is None else str(value).replace("\0", " ").strip()


def sign(letter: Any, *, latitude: bool) -> int:
    """1 for N, North, E, East, -1 for S, South, W, West, in any case; 0 where it does not say."""
    word = text(letter).lower()
    return _SIGNS.get(word, 0) if (word in _OF_LATITUDE) == latitude else 0


def sexagesimal(parts: Any) -> float:
    """(degrees, minutes, seconds), the last two or one of them absent -> degrees.

    Negative if any of them is; nan if one is no number, or 60 and more of the smaller ones.
    """
    numbers = [real(part) for part in parts]
    if not 1 <= len(numbers) <= 3 or any(math.isnan(number) for number in numbers):
        return math.nan
    if any(abs(number) > 60 for number in numbers[1:]):
        return math.nan
    size = sum(abs(n) / scale for n, scale in zip(numbers, (1, 60, 3600), strict=False))
    return -size if any(math.copysign(1, n) < 0 for n in numbers) else size


def degrees(value: str, *, latitude: bool, letter: str | None = None) -> float:
    """Degrees from a cell: ``-33.5``, ``33.5 S``, ``33 deg 30' 0.00" S``, ``S33:30:0``; else nan.

    Args:
        letter: what a column of its own says of the hemisphere; None where there is none.
    """
    value = text(value)
    words = [word for word in _LETTERS.findall(value) if not word.lower().startswith("deg")]
    said = [sign(word, latitude=latitude) for word in words]
    if not said and letter is not None:
        said = [sign(letter, latitude=latitude)]
    if len(said) > 1:
        return math.nan
    return signed(sexagesimal(_numbers(_LETTERS.sub("", value))), said[0] if said else None)


def signed(size: float, said: int | None) -> float:
    """Degrees with the hemisphere's sign.

    A minus is a statement of its own: programs write it with a constant N or E. Without one the
    letter decides, where there ought to be one (``said`` 0: it does not say, None: none expected).
    """
    if size < 0 or said is None:
        return size
    return size * said if said else math.nan


def position_problem(lat: float, lon: float) -> str:
    """Why these degrees are no position that can be used, in words; "" if they are one."""
    if math.isnan(lat) or math.isnan(lon):
        return "no position"
    if lat == 0 and lon == 0:
        return "latitude and longitude 0, which receivers write without a fix"
    if abs(lat) > 90 or abs(lon) > 180:
        return f"latitude {lat:g} and longitude {lon:g}, expected degrees within 90 and 180"
    if not -80 <= lat <= 84:
        return f"latitude {lat:g}, where UTM is not defined (-80 to 84)"
    return ""


def heading(value: Any, reference: Any = None) -> float:
    """Degrees clockwise from true north in [0, 360), from -360 to 360; else nan.

    Args:
        reference: T, M or their words; magnetic north is unknown degrees from north.
    """
    if text(reference).lower().startswith("m"):
        return math.nan
    if isinstance(value, str | bytes):
        numbers = _numbers(text(value))
        value = numbers[0] if len(numbers) == 1 else None
    angle = real(value)
    return angle % 360 if -360 <= angle <= 360 else math.nan


def _numbers(value: str) -> list[str]:
    """The one to three numbers of an angle; none where there is anything else in the text."""
    return re.findall(_NUMBER, value, re.ASCII) if _ANGLE.fullmatch(value) else []


def utc_offset_s(value: Any) -> float:
    """Seconds that a clock is ahead of UTC: ``+02:00`` -> 7200; nan where it does not say."""
    said = text(value).upper()
    if said in ("Z", "UTC", "GMT"):
        return 0.0
    match = _OFFSET.fullmatch(said)
    if match is None or int(match[2]) > _MAX_OFFSET_H or int(match[3] or 0) > 59:
        return math.nan
    size = int(match[2]) * 3600 + int(match[3] or 0) * 60
    return float(-size if match[1] == "-" else size)


def seconds_since_1970(value: str) -> float:
    """Of a date with a time, as ISO 8601 or EXIF write it; nan where it is none.

    A time without a zone is taken as UTC. Second 60, a leap second, is one only where there can be
    one: the last second of June or December.
    """
    match = _MOMENT.fullmatch(text(value))
    if match is None:
        return math.nan
    year, month, day, hour, minute = (int(part) for part in match.groups()[:5])
    second, zone = int(match[6] or 0), match[8]
    leap = second == 60 and (hour, minute) == (23, 59) and (month, day) in ((6, 30), (12, 31))
    try:
        moment = datetime(
            year, month, day, hour, minute, 59 if leap else second, tzinfo=timezone.utc
        )
    except ValueError:
        return math.nan
    ahead = 0.0 if zone is None else utc_offset_s(zone)
    return moment.timestamp() + leap + float(f"0.{match[7] or 0}") - ahead


def iso_utc(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601, to the second, without a zone."""
    start = datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (start + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
