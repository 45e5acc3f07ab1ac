"""Conversion between WGS 84 degrees and UTM metres, whole columns at a time."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgevpr.errors import DataError

#: Offset of UTM northings south of the equator, metres.
FALSE_NORTHING = 1e7


def to_utm(
    lat: ArrayLike, lon: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Degrees -> (easting, northing, zone, letter), each point in its own zone.

    Args:
        lat, lon: (N,) WGS 84 degrees; nan gives nan, zone 0 and letter "".

    Raises:
        DataError: outside UTM, that is beyond 80 degrees south, 84 north or 180 east or west.
    """
    lat, lon = np.atleast_1d(np.asarray(lat, float)), np.atleast_1d(np.asarray(lon, float))
    known = np.isfinite(lat) & np.isfinite(lon)
    bad = known & ((lat < -80) | (lat > 84) | (np.abs(lon) > 180))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"found latitude {lat[first]:g}, longitude {lon[first]:g}, expected -80 to 84 and "
            "-180 to 180, where UTM is defined: check that the columns are degrees and in this "
            "order"
        )
    zone, letter = np.zeros(len(lat), np.int64), np.full(len(lat), "", "U1")
    zone[known], letter[known] = _zones(lat[known], lon[known])
    easting, northing = np.full(len(lat), math.nan), np.full(len(lat), math.nan)
    for number in np.unique(zone[known]):
        rows = known & (zone == number)
        easting[rows], northing[rows] = to_zone(lat[rows], lon[rows], int(number))
    northing[known & (letter < "N")] += FALSE_NORTHING
    return easting, northing, zone, letter.tolist()


def to_latlon(
    easting: ArrayLike, northing: ArrayLike, zone: ArrayLike, letter: Sequence[str] | str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """UTM metres -> (lat, lon) degrees; nan where the zone number or the letter is unknown.

    Args:
        easting, northing: (N,) metres.
        zone: (N,) zone numbers, or one for all.
        letter: N band letters, or one for all.
    """
    import utm

    easting = np.atleast_1d(np.asarray(easting, float))
    northing = np.atleast_1d(np.asarray(northing, float))
    zone = np.broadcast_to(np.asarray(zone, np.int64), easting.shape)
    band = np.broadcast_to(np.asarray(letter, "U1"), easting.shape)
    known = np.isfinite(easting) & np.isfinite(northing) & (zone > 0) & (band != "")
    lat, lon = np.full(len(easting), math.nan), np.full(len(easting), math.nan)
    for number in np.unique(zone[known]):
        for north in (False, True):
            rows = known & (zone == number) & ((band >= "N") == north)
            if rows.any():
                # not strict: a point measured from the neighbouring zone is still a point
                lat[rows], lon[rows] = utm.to_latlon(
                    easting[rows], northing[rows], int(number), northern=north, strict=False
                )
    return lat, lon


def to_zone(
    lat: NDArray[np.float64], lon: NDArray[np.float64], zone: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Easting and signed northing (negative south of the equator) in this zone, metres."""
    import utm

    easting, northing, _, _ = utm.from_latlon(
        lat, lon, force_zone_number=zone, force_zone_letter="N"
    )
    return easting, northing


def _zones(
    lat: NDArray[np.float64], lon: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Zone number and letter of each point, Norway and Svalbard included.

    ``utm`` takes one point at a time, but every border lies on a whole degree: one call for each
    one-degree cell serves all points in it.
    """
    from utm.conversion import latitude_to_zone_letter, latlon_to_zone_number

    cells, which = np.unique(np.floor(np.stack([lat, lon], 1)), axis=0, return_inverse=True)
    which = which.reshape(-1)
    numbers = [latlon_to_zone_number(float(a), float(b)) for a, b in cells]
    letters = [latitude_to_zone_letter(float(a)) for a, _ in cells]
    return np.array(numbers, np.int64)[which], np.array(letters, "U1")[which]
