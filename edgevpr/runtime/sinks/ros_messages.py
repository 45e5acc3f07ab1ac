"""Answers as messages of ROS 2: NavSatFix, PoseWithCovarianceStamped, DiagnosticArray.

Message classes are those of rclpy or of a bag; both are constructed by field name.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.sinks.position import FixRule, Plane, covariance

FIX = "sensor_msgs/msg/NavSatFix"
POSE = "geometry_msgs/msg/PoseWithCovarianceStamped"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"

#: Variance of height and orientation, which one frame does not give; square metres, radians.
UNKNOWN_VARIANCE = 1e6
#: Seconds below which a time counts from a video's start (three years).
_UNIX = 1e8


@dataclass(frozen=True)
class RosOptions:
    """Frame, rule of a fix and origin of the messages."""

    #: the frame that the fix is of.
    frame_id: str = "camera"
    #: what makes an answer a fix.
    rule: FixRule = field(default_factory=FixRule)
    #: (lat, lon) that poses count from, frame ``map``; UTM, frame ``utm``, without.
    origin: tuple[float, float] | None = None
    #: metres above the ellipsoid; the definition of NavSatFix asks for NaN where it is unknown.
    altitude: float = math.nan


class RosMessages:
    """Builds the messages of one run.

    Args:
        types: message name (``sensor_msgs/msg/NavSatFix``) -> class.
        octet: a diagnostic level as the class wants it: rclpy takes bytes of length one.
    """

    def __init__(
        self,
        types: Callable[[str], Any],
        options: RosOptions,
        octet: Callable[[int], object] = int,
    ) -> None:
        self._types = types
        self._options = options
        self._octet = octet
        self._plane = Plane(options.origin)
        self._started = time.time()

    def stamp(self, answer: Answer | FrameError) -> int:
        """Unix nanoseconds: the frame's own; the run's start plus its place in a video; for an
        image file, when its pixels were there."""
        if answer.time is not None:
            start = 0.0 if answer.time > _UNIX else self._started
            # Microseconds: a double holds no more of a Unix time.
            return round((start + answer.time) * 1e6) * 1000
        age_ms = answer.frame_age_ms if isinstance(answer, Answer) else 0.0
        return time.time_ns() - round(age_ms * 1e6)

    def fix(self, answer: Answer | FrameError, stamp: int) -> Any:
        """NavSatFix, with STATUS_NO_FIX and NaN where there is none."""
        where = self._options.rule.fix(answer)
        around = np.zeros((3, 3))
        if where is not None and isinstance(answer, Answer):
            around[:2, :2] = covariance(answer)
            around[2, 2] = UNKNOWN_VARIANCE
        lat, lon = where or (math.nan, math.nan)
        return self._types(FIX)(
            header=self._header(stamp, self._options.frame_id),
            # STATUS_FIX or STATUS_NO_FIX, by no satellite service.
            status=self._types("sensor_msgs/msg/NavSatStatus")(
                status=-1 if where is None else 0, service=0
            ),
            latitude=lat,
            longitude=lon,
            altitude=math.nan if where is None else self._options.altitude,
            position_covariance=around.reshape(9),
            # COVARIANCE_TYPE_UNKNOWN or _APPROXIMATED.
            position_covariance_type=0 if where is None else 1,
        )

    def pose(self, answer: Answer | FrameError, stamp: int) -> Any | None:
        """PoseWithCovarianceStamped, without an orientation; None without a fix: a filter
        would take it for a pose."""
        where = self._options.rule.fix(answer)
        if where is None or not isinstance(answer, Answer):
            return None
        east, north = self._plane.metres(*where)
        around = np.diag(np.full(6, UNKNOWN_VARIANCE))
        around[:2, :2] = covariance(answer)
        point = self._types("geometry_msgs/msg/Point")(x=east, y=north, z=0.0)
        level = self._types("geometry_msgs/msg/Quaternion")(x=0.0, y=0.0, z=0.0, w=1.0)
        return self._types(POSE)(
            header=self._header(stamp, self._plane.name),
            pose=self._types("geometry_msgs/msg/PoseWithCovariance")(
                pose=self._types("geometry_msgs/msg/Pose")(position=point, orientation=level),
                covariance=around.reshape(36),
            ),
        )

    def diagnostics(self, answer: Answer | FrameError, stamp: int) -> Any:
        """DiagnosticArray: OK with a fix, WARN without, ERROR for a frame that is unreadable."""
        if isinstance(answer, FrameError):
            values: dict[str, object] = {"frame": answer.frame}
            level, says = 2, answer.error
        else:
            fix = self._options.rule.fix(answer) is not None
            level, says = (0, f"at place {answer.place}") if fix else (1, "not a known place")
            values = {
                "frame": answer.frame,
                "place": answer.place,
                "score": answer.score,
                "confidence": answer.confidence,
                "known": answer.known,
                "frame_age_ms": answer.frame_age_ms,
                "engine_ms": answer.ms.engine,
                "search_ms": answer.ms.search,
                "total_ms": answer.ms.total,
            }
            for name, value in (("exit", answer.exit), ("late", answer.late)):
                if value is not msgspec.UNSET:
                    values[name] = value
        pair = self._types("diagnostic_msgs/msg/KeyValue")
        status = self._types("diagnostic_msgs/msg/DiagnosticStatus")(
            level=self._octet(level),
            name="edgevpr: place",
            message=says,
            hardware_id=answer.source,
            values=[pair(key=k, value="" if v is None else str(v)) for k, v in values.items()],
        )
        return self._types(DIAGNOSTICS)(header=self._header(stamp, ""), status=[status])

    def _header(self, stamp: int, frame_id: str) -> Any:
        sec, nanosec = divmod(stamp, 10**9)
        moment = self._types("builtin_interfaces/msg/Time")(sec=sec, nanosec=nanosec)
        return self._types("std_msgs/msg/Header")(stamp=moment, frame_id=frame_id)
