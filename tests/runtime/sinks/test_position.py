"""Fixes of answers, their covariance, and their metres."""

import math

import numpy as np
import pytest
import utm

from edgevpr.places.wgs84 import east_north
from edgevpr.runtime.sinks.position import FixRule, Plane, covariance

from ..answers import LAT, LON, UNREADABLE, answer


def test_fix_only_of_known_places_with_a_position() -> None:
    for rule in (FixRule(), FixRule(assume_known=True)):
        assert rule.fix(answer(0.5, known=True)) == (LAT, LON)
        assert rule.fix(answer(0.5, known=False)) is None
        assert rule.fix(answer(None)) is None
        assert rule.fix(answer(0.5, lat=None, lon=None)) is None
        assert rule.fix(UNREADABLE) is None
    assert FixRule(min_score=0.51).fix(answer(0.5)) is None
    assert FixRule().fix(answer(math.nan)) is None


def test_an_answer_that_nothing_judged() -> None:
    """Without a confidence model every frame would be a fix, kilometres apart."""
    assert FixRule().fix(answer(0.99, known=None)) is None
    assert FixRule(assume_known=True).fix(answer(0.99, known=None)) == (LAT, LON)


@pytest.mark.parametrize(
    ("lat", "lon"),
    [
        (91.5, 11.0),
        (-90.01, 11.0),
        (48.0, 200.0),
        (48.0, -180.5),
        (math.nan, 11.0),
        (48.0, math.inf),
    ],
)
def test_positions_that_are_nowhere(lat: float, lon: float) -> None:
    """Neither a fix, nor counted in the spread of one."""
    assert FixRule().fix(answer(0.9, lat=lat, lon=lon)) is None
    np.testing.assert_allclose(covariance(answer(0.9, others=((lat, lon, 0.9),))), 100 * np.eye(2))


def test_covariance_of_agreement_and_of_doubt() -> None:
    """It grows with the distance of places that are as similar."""
    alone = covariance(answer(0.9))
    np.testing.assert_allclose(alone, 100 * np.eye(2))
    # 0.01 degrees north is 1112 m; at the same score both count half: 1112 squared by two.
    north = ((LAT + 0.01, LON, 0.9),)
    torn = covariance(answer(0.9, others=north))
    assert torn[1, 1] == pytest.approx(1112**2 / 2, rel=0.01)
    assert torn[0, 0] == pytest.approx(100, abs=1)
    # One scale less similar: e^-1 against 1.
    less = covariance(answer(0.9, others=((LAT + 0.01, LON, 0.85),)))
    share = math.exp(-1) / (1 + math.exp(-1))
    assert less[1, 1] == pytest.approx(1112**2 * share, rel=0.01)
    doubtful = covariance(answer(0.9, others=north, confidence=0.25))
    np.testing.assert_allclose(doubtful, 4 * torn)
    assert np.isfinite(covariance(answer(0.9, confidence=0.0))).all()
    diagonal = covariance(answer(0.9, others=((LAT + 0.01, LON + 0.01, 0.9),)))
    assert diagonal[0, 1] > 0
    assert diagonal[0, 1] == diagonal[1, 0]
    assert (np.linalg.eigvalsh(diagonal) > 0).all()


@pytest.mark.parametrize("origin", [(48.0, 11.5), (-33.5, -70.2), (0.0, 179.9999)])
def test_metres_about_an_origin(origin: tuple[float, float]) -> None:
    """Against UTM's distances, whose scale differs by up to 0.0004; the date line included."""
    for north, east in ((0.002, 0.0), (0.0, 0.003), (-0.004, 0.001)):
        point = origin[0] + north, origin[1] + east
        x, y = east_north(*point, origin)
        assert (x > 0) == (east > 0) or east == 0
        assert (y > 0) == (north > 0) or abs(y) < 0.2
        zone = utm.from_latlon(*origin)[2]
        a = utm.from_latlon(*origin, force_zone_number=zone, force_zone_letter="N")
        wrapped = point[1] - 360 if point[1] > 180 else point[1]
        b = utm.from_latlon(point[0], wrapped, force_zone_number=zone, force_zone_letter="N")
        apart = math.hypot(a[0] - b[0], a[1] - b[1])
        assert math.hypot(x, y) == pytest.approx(apart, rel=1.1e-3)


def test_utm_keeps_its_zone() -> None:
    """UTM keeps the zone of the first fix, and the southern offset."""
    plane = Plane()
    expected = utm.from_latlon(48.0, 11.9999)
    assert plane.metres(48.0, 11.9999) == pytest.approx(expected[:2], abs=0.01)
    assert plane.name == "utm"
    over = plane.metres(48.0, 12.0001)
    assert over[0] - expected[0] == pytest.approx(14.9, abs=0.5)
    south = Plane().metres(-33.5, -70.2)
    assert south == pytest.approx(utm.from_latlon(-33.5, -70.2)[:2], abs=0.01)
    local = Plane((48.0, 11.5))
    assert local.name == "map"
    assert local.metres(48.0, 11.5) == pytest.approx((0, 0), abs=1e-6)
