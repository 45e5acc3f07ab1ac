"""Degrees, headings and times as they are written."""

import math
from typing import Any

import pytest

from edgevpr.data import readings
from edgevpr.data.readings import seconds_since_1970, sign, utc_offset_s


@pytest.mark.parametrize(
    ("text", "letter", "value"),
    [
        ("-33.5", None, -33.5),
        ("33.5 S", None, -33.5),
        ("S 33.5", None, -33.5),
        ("33 deg 30' 0.00\" S", None, -33.5),
        ("33°30′0″N", None, 33.5),
        ("33:30:00 south", None, -33.5),
        ("33.5", "S", -33.5),
        ("-33.5", "N", -33.5),
        ("-33.5", "S", -33.5),
        ("33.5", "North", 33.5),
        ("33.5", "", math.nan),  # a column of letters that does not say
        ("33.5 E", None, math.nan),
        ("33,5", None, math.nan),
        ("33.5.2", None, math.nan),
        ("N33.5S", None, math.nan),
        ("33 75 0", None, math.nan),
        ("nan", None, math.nan),
        ("1e400", None, math.nan),
        ("", None, math.nan),
        ("here", None, math.nan),
    ],
)
def test_degrees(text: str, letter: str | None, value: float) -> None:
    """A letter that is missing where there ought to be one is not north."""
    found = readings.degrees(text, latitude=True, letter=letter)
    assert found == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("letter", "value"),
    [
        ("S", -1), ("S\0\0", -1), ("south", -1), (b"S\0", -1), ("N", 1), ("\1", 0), ("", 0),
        (None, 0), ("W", 0), ("Sur", 0), (7, 0),
    ],
)  # fmt: skip
def test_letters_of_latitude(letter: Any, value: int) -> None:
    assert sign(letter, latitude=True) == value


@pytest.mark.parametrize(
    ("value", "reference", "found"),
    [
        (271.5, None, 271.5),
        ("-90", None, 270.0),
        ("90 deg", "T", 90.0),
        (360, None, 0.0),
        (90, "M", math.nan),
        ("90", "Magnetic North", math.nan),
        ("N", None, math.nan),
        ("", None, math.nan),
        (None, None, math.nan),
        ("1 2", None, math.nan),
        (math.inf, None, math.nan),
        (400, None, math.nan),
    ],
)
def test_headings(value: Any, reference: Any, found: float) -> None:
    """Magnetic north is unknown degrees from north."""
    assert readings.heading(value, reference) == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("+02:00", 7200), ("-0330", -12600), ("Z", 0), ("+02:00\0", 7200), ("+02", 7200),
        ("   :  ", math.nan), ("+99:00", math.nan), ("", math.nan), (None, math.nan),
    ],
)  # fmt: skip
def test_offsets(text: Any, seconds: float) -> None:
    assert utc_offset_s(text) == pytest.approx(seconds, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:01:00Z", 60),
        ("1970-01-01 00:01:00 UTC", 60),
        ("1970:01:01 00:01:00", 60),
        ("1970-01-01T02:01:00.5+02:00", 60.5),
        ("1972-06-30T23:59:60Z", 78796800),  # a leap second
        ("1970-01-01T00:00:60Z", math.nan),
        ("1970-01-01T24:00:00Z", math.nan),
        ("0000-00-00T00:00:00Z", math.nan),
        ("1970-02-30T00:00:00Z", math.nan),
        ("noon", math.nan),
        ("", math.nan),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    """What no clock shows is unknown, not an error."""
    assert seconds_since_1970(text) == pytest.approx(seconds, nan_ok=True)


@pytest.mark.parametrize("lat_lon", [(0, 0), (91, 0), (1, 181), (89.9, 13), (math.nan, 1)])
def test_what_is_no_position(lat_lon: tuple[float, float]) -> None:
    assert readings.position_problem(*lat_lon)
    assert not readings.position_problem(0, 13)
