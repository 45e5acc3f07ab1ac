"""Metres on the WGS 84 ellipsoid, against values known from elsewhere."""

import numpy as np
import pytest

from edgevpr.places.wgs84 import METRES_PER_DEGREE, earth_centred, east_north, great_circle_m


def test_poles_and_equator() -> None:
    """The semi-minor axis is 6356752.3142 m (NIMA TR8350.2)."""
    np.testing.assert_allclose(earth_centred(0, 0), [6378137, 0, 0], atol=1e-6)
    np.testing.assert_allclose(earth_centred(0, 90), [0, 6378137, 0], atol=1e-6)
    np.testing.assert_allclose(earth_centred(90, 0), [0, 0, 6356752.3142], atol=1e-3)
    assert earth_centred(np.zeros((2, 3)), np.zeros((2, 3))).shape == (3, 2, 3)


@pytest.mark.parametrize("lat", [-60.0, 0.0, 48.0])
def test_east_and_north_of_a_point(lat: float) -> None:
    """To a thousandth, radii of curvature being within 0.7 % of the equator's."""
    east, north = east_north(lat, 11.001, (lat, 11.0))
    assert east == pytest.approx(0.001 * METRES_PER_DEGREE * np.cos(np.radians(lat)), rel=4e-3)
    assert abs(north) < 0.01
    east, north = east_north(lat + 0.001, 11.0, (lat, 11.0))
    assert east == 0
    assert north == pytest.approx(0.001 * METRES_PER_DEGREE, rel=8e-3)


def test_great_circle() -> None:
    """A degree of the sphere is 111195 m, across the date line too."""
    assert great_circle_m((0, 179.5), (0, -179.5)) == pytest.approx(111_195, rel=1e-5)
    assert great_circle_m((48, 11), (48, 11)) == 0
