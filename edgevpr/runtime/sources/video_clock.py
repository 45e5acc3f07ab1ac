"""Times of a video's frames, and whether the video ended before its end.

Containers are of little help: a raw stream has no times at all, concatenated ones start again,
and mkv and webm announce a length but no number of frames, which OpenCV then guesses.
"""

import math

#: Frames a second that a header may claim in earnest.
_FASTEST = 1000.0
#: Seconds back after which a recording has started again, rather than its frames been reordered.
_RESTART_S = 1.0
#: A container's length is that of its sound, too, and ends with the last frame's duration.
_SLACK_S = 1.0
_SLACK = 0.02
#: A container's count is an estimate: a frame or two less is not remarked on.
_SLACK_FRAMES = 2


class VideoClock:
    """Seconds into the video of one frame after the other, never less than the one before.

    Args:
        announced: frames that the header, or OpenCV's guess, promises; 0 or less for none.
        fps: frames a second of the header; anything where there is none.
    """

    def __init__(self, announced: float, fps: float) -> None:
        self._announced = announced if math.isfinite(announced) else 0.0
        self._step = 1 / fps if 0 < fps <= _FASTEST else 0.0
        self._count = 0
        self._last = self._position = 0.0
        self._longest = self._step
        self._shift = 0.0
        self._without = False

    def time(self, position_ms: float) -> float | None:
        """Seconds of the next frame, to the microsecond.

        Args:
            position_ms: what the container says; 0 for every frame where it says nothing.

        Returns:
            the count of frames over their rate where the container has no times; None without
            such a rate either.
        """
        first, position = not self._count, position_ms / 1e3
        self._count += 1
        if not math.isfinite(position) or (self._count == 2 and position <= self._position):
            self._without = True
        if self._without:
            self._last = (self._count - 1) * self._step
            return round(self._last, 6) if first or self._step else None
        position = max(position, 0.0)
        at = position + self._shift
        if not first and at <= self._last:
            at = self._last + self._step
            if self._position - position > _RESTART_S:
                self._shift = at - position
        if not first:
            self._longest = max(self._longest, at - self._last)
        self._last, self._position = at, position
        return round(at, 6)

    def missing(self) -> str:
        """What is said of a video that ends here, when it announced more; ''."""
        if self._count >= self._announced - _SLACK_FRAMES:
            return ""
        length = self._announced * self._step
        slack = max(_SLACK_S, 2 * self._longest, _SLACK * length)
        whole = self._last + min(slack, length / 4) >= length
        if whole and not self._without:
            return ""
        return (
            f"ended after {self._count} of the {self._announced:.0f} frames it announces, at "
            f"{self._last:.1f} of {length:.1f} s; it was cut off or is damaged from there on"
        )
