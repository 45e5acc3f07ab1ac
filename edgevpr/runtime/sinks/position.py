"""Answers as positions: whether one is a fix, its covariance, and metres in a plane."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.places.utm import FALSE_NORTHING, to_utm, to_zone
from edgevpr.places.wgs84 import east_north, on_earth
from edgevpr.runtime.answers import Answer, FrameError

#: Standard deviation of a fix that all places agree on, metres: with it 96 of 100 fixes lie within
#: 25 m, the field's distance of a right answer.
STD_M = 10.0
#: A place this much less similar than the best counts 1/e of it.
SCORE_SCALE = 0.05
#: Confidence below which a fix grows no wider.
LEAST_CONFIDENCE = 0.01


@dataclass(frozen=True)
class FixRule:
    """Rule by which an answer is a fix.

    No fix: a frame that could not be read, a place that is not ``known``, one less similar than
    ``min_score``, and one without a position on Earth.
    """

    #: similarity below which a place is no fix, -1 to 1.
    min_score: float = 0.0
    #: take answers that nothing judged (``known`` None, no confidence model) as known.
    assume_known: bool = False

    def fix(self, answer: Answer | FrameError) -> tuple[float, float] | None:
        """(lat, lon) in degrees; None where the answer is no fix."""
        if isinstance(answer, FrameError) or answer.known is False:
            return None
        if answer.known is None and not self.assume_known:
            return None
        if answer.score is None or not answer.score >= self.min_score:
            return None
        if answer.lat is None or answer.lon is None or not on_earth(answer.lat, answer.lon):
            return None
        return answer.lat, answer.lon


def covariance(answer: Answer) -> NDArray[np.float64]:
    """(2, 2) east and north, square metres, of an answer that is a fix.

    The spread of all places of the answer about the first, each weighted by exp(-(best - score) /
    SCORE_SCALE), plus STD_M squared; divided by the confidence where there is one.
    """
    lat, lon, score = answer.lat, answer.lon, answer.score
    if lat is None or lon is None or score is None:
        raise ValueError("an answer without a position has no covariance")
    spread, total = np.zeros((2, 2)), 0.0
    for match in answer.top:
        if match.lat is not None and match.lon is not None and on_earth(match.lat, match.lon):
            weight = math.exp((match.score - score) / SCORE_SCALE)
            offset = np.array(east_north(match.lat, match.lon, (lat, lon)))
            spread += weight * np.outer(offset, offset)
            total += weight
    wide = spread / (total or 1.0) + STD_M**2 * np.eye(2)
    doubt = 1.0 if answer.confidence is None else max(answer.confidence, LEAST_CONFIDENCE)
    return np.asarray(wide / doubt)


class Plane:
    """Metres for a whole run: east and north of ``origin``, or else UTM.

    UTM keeps the zone of the run's first fix, so that positions do not jump at its border.
    """

    def __init__(self, origin: tuple[float, float] | None = None) -> None:
        self.origin = origin
        #: name of the frame in ROS.
        self.name = "utm" if origin is None else "map"
        self._zone = 0
        self._offset = 0.0

    def metres(self, lat: float, lon: float) -> tuple[float, float]:
        """(east, north).

        Raises:
            DataError: a first fix so near to a pole that UTM does not reach it.
        """
        if self.origin is not None:
            return east_north(lat, lon, self.origin)
        if not self._zone:
            _, _, zone, letter = to_utm(lat, lon)
            self._zone = int(zone[0])
            self._offset = FALSE_NORTHING if letter[0] < "N" else 0.0
        east, north = to_zone(np.array([lat]), np.array([lon]), self._zone)
        return float(east[0]), float(north[0]) + self._offset
