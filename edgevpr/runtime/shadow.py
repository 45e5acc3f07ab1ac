"""Comparison of two bundles or galleries on the same frames: agreement and work a frame."""

import math
import statistics
from dataclasses import dataclass

from edgevpr.errors import UsageError
from edgevpr.places.wgs84 import great_circle_m
from edgevpr.runtime.answers import Answer, FrameError, Match


@dataclass(frozen=True)
class Limits:
    """Bounds that a new pair must keep on the frames it is compared on."""

    #: frames to compare; 0 takes the new pair as soon as it opens.
    shadow: int = 30
    #: percent of frames on which both must answer the same place.
    min_agreement: float = 80.0
    #: most work a frame, times the running pair's (medians). Both work at the same moment, so
    #: each slows the other.
    max_slowdown: float = 1.5
    #: metres between two answers that are the same place to both maps.
    radius_m: float = 25.0

    def __post_init__(self) -> None:
        if self.shadow < 0:
            raise UsageError(
                f"found `shadow` {self.shadow}, expected 0 or more frames: pass `shadow` 30"
            )
        if not 0 <= self.min_agreement <= 100:
            raise UsageError(
                f"found `min_agreement` {self.min_agreement:g}, expected percent from 0 to 100: "
                "pass `min_agreement` 80"
            )
        if not self.max_slowdown > 0:
            raise UsageError(
                f"found `max_slowdown` {self.max_slowdown:g}, expected a factor above 0: pass "
                "`max_slowdown` 1.5"
            )


class Shadow:
    """Running comparison, frame by frame."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.frames = 0
        self._same = 0
        self._old_ms: list[float] = []
        self._new_ms: list[float] = []

    def add(self, old: Answer | FrameError, new: Answer | FrameError) -> None:
        """Both answers to one frame. A frame that neither could answer is not counted."""
        if isinstance(old, FrameError) and isinstance(new, FrameError):
            return
        self.frames += 1
        self._same += answers_agree(old, new, self.limits.radius_m)
        for item, kept in ((old, self._old_ms), (new, self._new_ms)):
            if isinstance(item, Answer):
                kept.append(item.ms.total - item.ms.capture)

    def complete(self) -> bool:
        return self.frames >= self.limits.shadow

    @property
    def agreement(self) -> float:
        """Percent of frames with the same place; 100 where none was compared."""
        return 100.0 * self._same / self.frames if self.frames else 100.0

    @property
    def slowdown(self) -> float:
        """New over old, medians of preprocessing to search; 1 where either has no times."""
        if not self._old_ms or not self._new_ms:
            return 1.0
        old = statistics.median(self._old_ms)
        return statistics.median(self._new_ms) / old if old else math.inf

    def passed(self) -> bool:
        limits = self.limits
        return self.agreement >= limits.min_agreement and self.slowdown <= limits.max_slowdown

    def sentence(self) -> str:
        if not self.frames:
            return "not compared, as asked"
        return (
            f"the same place on {self.agreement:.0f} % of {self.frames} frames (limit "
            f"{self.limits.min_agreement:.0f} %), {self.slowdown:.2f} times the work a frame "
            f"(limit {self.limits.max_slowdown:.2f})"
        )


def answers_agree(a: Answer | FrameError, b: Answer | FrameError, radius_m: float) -> bool:
    """Whether two answers to one frame, perhaps from different maps, mean one place.

    By their positions where both have one, because place ids belong to a map; else by place id,
    or by gallery image. Two times "nowhere in the map" is agreement.
    """
    ours, theirs = _best(a), _best(b)
    if ours is None or theirs is None:
        return ours is theirs
    distance = _metres(ours, theirs)
    if distance is not None:
        return distance <= radius_m
    if ours.place is not None and theirs.place is not None:
        return ours.place == theirs.place
    return ours.image == theirs.image


def _best(item: Answer | FrameError) -> Match | None:
    if isinstance(item, FrameError) or item.known is False or not item.top:
        return None
    return item.top[0]


def _metres(a: Match, b: Match) -> float | None:
    """Great-circle distance; None where either has no position."""
    if a.lat is None or a.lon is None or b.lat is None or b.lon is None:
        return None
    return great_circle_m((a.lat, a.lon), (b.lat, b.lon))
