"""The WGS 84 ellipsoid: its constants, and metres between points given in degrees."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Equatorial radius, metres, and the square of the first eccentricity (NIMA TR8350.2).
EQUATORIAL_RADIUS_M = 6378137.0
ECCENTRICITY_SQUARED = 6.69437999014e-3
#: Radius of the sphere that stands for the Earth in ``great_circle_m``, metres.
MEAN_RADIUS_M = 6_371_000.0
#: Metres of one degree of longitude on the equator; elsewhere times the cosine of the latitude.
METRES_PER_DEGREE = math.radians(EQUATORIAL_RADIUS_M)


def earth_centred(lat: ArrayLike, lon: ArrayLike) -> NDArray[np.float64]:
    """Degrees, any shape -> (3, ...) metres from the centre of the Earth, x through lat 0, lon 0.

    Points of the ellipsoid itself, at height 0.
    """
    phi, lam = np.radians(np.asarray(lat, float)), np.radians(np.asarray(lon, float))
    across = EQUATORIAL_RADIUS_M / np.sqrt(1 - ECCENTRICITY_SQUARED * np.sin(phi) ** 2)
    flat = across * np.cos(phi)
    up = across * (1 - ECCENTRICITY_SQUARED) * np.sin(phi)
    return np.stack([flat * np.cos(lam), flat * np.sin(lam), up])


def on_earth(lat: ArrayLike, lon: ArrayLike) -> NDArray[np.bool_]:
    """Which positions are some, any shape: -90 to 90 and -180 to 180 degrees; not NaN."""
    return np.asarray((np.abs(lat) <= 90) & (np.abs(lon) <= 180))


def east_north(lat: float, lon: float, origin: tuple[float, float]) -> tuple[float, float]:
    """Metres east and north of ``origin`` (lat, lon), in the plane tangent to the ellipsoid."""
    phi0 = math.radians(origin[0])
    x, y, z = earth_centred(lat, lon - origin[1])
    x0, _, z0 = earth_centred(origin[0], 0.0)
    return float(y), float((z - z0) * math.cos(phi0) - (x - x0) * math.sin(phi0))


def great_circle_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Metres along a sphere between two points (lat, lon), by the haversine formula.

    Within 0.6 % of the ellipsoid.
    """
    lat_a, lat_b = math.radians(a[0]), math.radians(b[0])
    half = math.sin((lat_b - lat_a) / 2) ** 2
    half += math.cos(lat_a) * math.cos(lat_b) * math.sin(math.radians(b[1] - a[1]) / 2) ** 2
    return 2 * MEAN_RADIUS_M * math.asin(min(1.0, math.sqrt(half)))
