"""Images taken near a point: the GPS prior of a search.

Distances are straight lines between points of the WGS 84 ellipsoid, the same everywhere on Earth:
no zones, no poles. Over 100 km the chord is a metre shorter than the way along the ground.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError, UsageError
from edgevpr.places.table import ImageTable
from edgevpr.places.wgs84 import earth_centred


@dataclass(frozen=True)
class Near:
    """Within ``radius_m`` metres of a point in degrees."""

    lat: float
    lon: float
    radius_m: float

    def __post_init__(self) -> None:
        if not (abs(self.lat) <= 90 and abs(self.lon) <= 180 and 0 < self.radius_m < math.inf):
            raise UsageError(
                f"found `near` {self}, expected a latitude of -90 to 90, a longitude of -180 to "
                "180 and a radius above 0 metres: pass `near` 48.137,11.575,200"
            )

    def __str__(self) -> str:
        return f"{self.lat:.10g},{self.lon:.10g},{self.radius_m:g}"

    @classmethod
    def parse(cls, text: str) -> "Near":
        """``lat,lon,radius``: degrees, degrees, metres.

        Raises:
            UsageError: not three numbers, or out of range.
        """
        try:
            lat, lon, radius = (float(part) for part in text.split(","))
        except ValueError:
            raise UsageError(
                f"found `near` {text!r}, expected lat,lon,radius in degrees and metres: pass "
                "`near` 48.137,11.575,200"
            ) from None
        return cls(lat, lon, radius)


class Positions:
    """Positions of N images, to be searched many times.

    Images without coordinates, and those that ``live`` (N,) leaves out, are never found.
    """

    def __init__(self, images: ImageTable, live: NDArray[np.bool_] | None = None) -> None:
        table = images.with_positions()
        self._lat, self._lon = table.lat, table.lon
        if live is not None:
            self._lat = np.where(live, table.lat, math.nan)
        self._xyz = earth_centred(self._lat, self._lon)

    def near(self, point: Near) -> NDArray[np.bool_]:
        """(N,) which images lie within the radius.

        Raises:
            DataError: none does.
        """
        here = earth_centred(point.lat, point.lon)
        squared = np.square(self._xyz[0] - here[0])
        squared += np.square(self._xyz[1] - here[1])
        squared += np.square(self._xyz[2] - here[2])
        inside = np.asarray(squared <= point.radius_m**2)  # false where nan
        if not inside.any():
            raise DataError(self._outside(point, squared))
        return inside

    def _outside(self, point: Near, squared: NDArray[np.float64]) -> str:
        known = np.isfinite(squared)
        if not known.any():
            return (
                f"found `near` {point} and no coordinates among the map's {len(squared)} images, "
                "expected some: leave `near` out"
            )
        lat, lon = self._lat[known], self._lon[known]
        return (
            f"found `near` {point} but the nearest image of the map is "
            f"{math.sqrt(squared[known].min()):.0f} m from there, expected a point in or beside "
            f"{lat.min():.5f} to {lat.max():.5f} N, {lon.min():.5f} to {lon.max():.5f} E: correct "
            "`near` lat,lon,radius, or use the gallery of that region"
        )
