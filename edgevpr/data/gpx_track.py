"""Positions on GPX tracks by time; each track is interpolated for itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.data.left_out import LeftOut
from edgevpr.data.position_files import elements, tag_of
from edgevpr.data.readings import degrees, position_problem, seconds_since_1970
from edgevpr.errors import DataError
from edgevpr.places.wgs84 import earth_centred, great_circle_m

#: A moment further than this from both neighbouring track points has no position.
GAP_S = 30.0
#: Faster than this between two points, metres a second, a car was not: one of them is wrong ...
CAR_M_S = 100.0
#: ... unless the whole track is that fast (a train, an aircraft): its median, times this ...
FASTER = 5.0
#: ... up to what nothing that takes photos of places does.
NOTHING_M_S = 1000.0
#: Two recorders that are no further apart than this, metres, agree.
AGREE_M = 50.0


@dataclass(frozen=True)
class GpxTrack:
    """One recorder's points in order of time: seconds since 1970, degrees."""

    seconds: NDArray[np.float64]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    #: (N - 1,) whether the way from a point to the next can have been driven.
    driven: NDArray[np.bool_]

    @classmethod
    def of(cls, points: Sequence[tuple[float, float, float]]) -> "GpxTrack":
        """From (seconds, lat, lon), at least one."""
        seconds, lat, lon = np.array(sorted(points)).T
        ways = np.linalg.norm(np.diff(earth_centred(lat, lon), axis=1), axis=0)
        speeds = ways / np.maximum(np.diff(seconds), 1.0)  # many recorders write whole seconds
        usual = float(np.median(speeds)) if len(speeds) else 0.0
        return cls(seconds, lat, lon, speeds <= min(NOTHING_M_S, max(CAR_M_S, FASTER * usual)))

    def at(self, moment: float) -> tuple[float, float] | str | None:
        """(lat, lon) at this time, or why there is none; None: not on this track."""
        after = int(np.searchsorted(self.seconds, moment))
        around = [i for i in (after - 1, after) if 0 <= i < len(self.seconds)]
        exact = self.seconds[around[-1]] == moment
        if len(around) < 2 and not exact:
            return None
        if min(abs(self.seconds[i] - moment) for i in around) > GAP_S:
            return None
        ways = [after - 1, after] if exact else [after - 1]
        ways = [way for way in ways if 0 <= way < len(self.driven)]
        if ways and not self.driven[ways].any():
            return "between track points that no car can connect in their time"
        if exact:
            around = around[-1:]
        # Longitudes are unwrapped, so that a track over the date line does not cross the globe.
        seconds, lon = self.seconds[around], np.unwrap(self.lon[around], period=360.0)
        lat, east = (float(np.interp(moment, seconds, d)) for d in (self.lat[around], lon))
        return lat, (east + 180) % 360 - 180


def read_gpx(file: Path, left_out: list[LeftOut]) -> list[GpxTrack]:
    """The tracks of a file; points without a usable time or position are left out.

    Raises:
        DataError: the file is no XML, or has fewer than two points that can be used.
    """
    tracks, total, used = [], 0, 0
    problems: dict[str, int] = {}
    for element in elements(file, "trk"):
        segments = []
        for segment in element:
            if tag_of(segment) != "trkseg":
                continue
            points = []
            for point in (e for e in segment if tag_of(e) == "trkpt"):
                total += 1
                time = next((e.text for e in point if tag_of(e) == "time" and e.text), "")
                seconds = seconds_since_1970(time)
                lat = degrees(point.get("lat") or "", latitude=True)
                lon = degrees(point.get("lon") or "", latitude=False)
                problem = "no usable time" if math.isnan(seconds) else position_problem(lat, lon)
                if problem:
                    problems[problem] = problems.get(problem, 0) + 1
                else:
                    points.append((seconds, lat, lon))
            used += len(points)
            segments.append(points)
        tracks += [GpxTrack.of(points) for points in _joined(segments)]
    for problem, count in problems.items():
        left_out.append(LeftOut(file.name, f"{count} of {total} track points with {problem}"))
    if used < 2:
        raise DataError(
            f"found {used} track points with a time in {file}, expected at least 2: export the "
            "track again, times included"
        )
    return tracks


def along(tracks: Sequence[GpxTrack], moment: float) -> tuple[float, float] | str:
    """(lat, lon) at this time, seconds since 1970, or why there is none, in words."""
    answers = [answer for track in tracks if (answer := track.at(moment)) is not None]
    spots = [answer for answer in answers if not isinstance(answer, str)]
    if not spots:
        return next((a for a in answers if isinstance(a, str)), "no track point near its time")
    apart = max(great_circle_m(spots[0], spot) for spot in spots)
    if apart > AGREE_M:
        return f"{len(spots)} tracks have its time, {apart:.0f} m apart"
    return spots[0]


def _joined(
    segments: Sequence[list[tuple[float, float, float]]],
) -> list[list[tuple[float, float, float]]]:
    """Segments that follow each other in time as one line; those that overlap apart."""
    lines: list[list[tuple[float, float, float]]] = []
    for points in sorted((sorted(s) for s in segments if s), key=lambda s: s[0]):
        line = next((line for line in lines if line[-1][0] <= points[0][0]), None)
        if line is None:
            lines.append(points)
        else:
            line += points
    return lines
