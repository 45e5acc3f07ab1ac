"""Positions that are nowhere on Earth, of features and galleries."""

import math

import numpy as np
import pytest

from edgevpr.errors import DataError
from edgevpr.places.check_positions import check_positions
from edgevpr.places.table import ImageTable


@pytest.mark.parametrize(
    ("lat", "lon"),
    [
        (91.5, 11.0),
        (-90.5, 11.0),
        (48.0, 200.0),
        (48.0, -180.5),
        (48.0, math.inf),
    ],
)
def test_positions_out_of_range(lat: float, lon: float) -> None:
    images = ImageTable.build(["a.jpg", "b.jpg"], lat=[48.0, lat], lon=[11.0, lon])
    with pytest.raises(DataError, match=r"for b.jpg in F \(1 of 2 .*: correct it$"):
        check_positions(images, "F", "correct it", DataError)
    check_positions(images, "F", "correct it", DataError, kept=np.array([True, False]))


def test_poles_date_line_and_unknown_positions() -> None:
    lat, lon = [90.0, -90.0, math.nan, 48.0], [180.0, -180.0, math.nan, math.nan]
    images = ImageTable.build(["a", "b", "c", "d"], lat=lat, lon=lon)
    check_positions(images, "F", "correct it", DataError)
