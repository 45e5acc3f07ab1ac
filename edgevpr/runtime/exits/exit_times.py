"""Times of each exit on this machine now, those included that have not run for a while.

Heat and load slow all exits about alike. An exit that did not run with the last frame therefore
counts as slow as its own last runs *or* as the exit that runs now, whichever is slower: a load that
comes moves the estimates of all exits at once. What keeps an exit out when the load has gone is
only its own, old times. Once the exit that runs now says that it would do, it is retried for one
frame, ``RETRY`` frames after its last run at the earliest, and twice as many after each retry that
failed. Where the retry is in time, its old times are forgotten.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgevpr.runtime.exits.decaying import DecayingHistogram

#: Frames until an exit is retried, at first and at most.
RETRY, RETRY_MOST = 32, 2048
#: Weight of the bundle's own measurement: as of so many frames, a tenth of them at its p95.
_SEED = 4.0


@dataclass
class _Times:
    """One exit: its times, what it takes when nothing slows it, and when it is retried."""

    usual_ms: float | None = None
    recent: DecayingHistogram = field(default_factory=DecayingHistogram)
    last: int = 0
    wait: int = RETRY


class ExitTimes:
    """Engine times of named exits, from one owner's frames.

    Args:
        names: of the exits.
        seeds: median and 95th percentile in ms that were measured before, where they were.
    """

    def __init__(
        self, names: Sequence[str], seeds: Mapping[str, tuple[float, float]] | None = None
    ) -> None:
        self._times = {name: _Times() for name in names}
        self._now = ""
        self._frames = 0
        for name, (p50, p95) in (seeds or {}).items():
            times = self._times[name]
            times.usual_ms = p50
            times.recent.add(p95, 0.1 * _SEED)
            times.recent.add(p50, 0.9 * _SEED)

    def warmed_up(self, name: str, ms: Sequence[float]) -> None:
        """Times of an exit at the start, all exits by turns: how they compare to each other."""
        times = self._times[name]
        times.usual_ms = sorted(ms)[len(ms) // 2]
        times.recent = DecayingHistogram()
        for each in ms:
            times.recent.add(each)

    def add(self, name: str, ms: float) -> None:
        """A frame was answered by this exit in ``ms``."""
        self._frames += 1
        times = self._times[name]
        times.recent.add(ms)
        times.usual_ms = times.usual_ms or ms
        times.last, self._now = self._frames, name

    def p95_ms(self, name: str) -> float:
        """95th percentile to expect of the next frame; infinite where nothing is known."""
        own = self._times[name].recent.percentile(95)
        predicted = self.predicted_ms(name)
        if own is None and predicted is None:
            return float("inf")
        return max(own or 0.0, predicted or 0.0)

    def predicted_ms(self, name: str) -> float | None:
        """The same by what runs now alone; None where one of the two never ran."""
        times, now = self._times[name], self._times.get(self._now)
        if now is None or not now.usual_ms or not times.usual_ms:
            return None
        slowed = now.recent.percentile(95)
        return None if slowed is None else times.usual_ms * slowed / now.usual_ms

    def retry_is_due(self, name: str) -> bool:
        """Whether the exit has not run for so long that its own times are worth a doubt."""
        times = self._times[name]
        return self._frames - times.last >= times.wait

    def retried(self, name: str, in_time: bool) -> None:
        """How a retry went, before its time is added."""
        times, now = self._times[name], self._times.get(self._now)
        if not in_time:
            times.wait = min(2 * times.wait, RETRY_MOST)
            return
        times.wait = RETRY
        if now is not None and now is not times and now.usual_ms and times.usual_ms:
            times.recent.take(now.recent, times.usual_ms / now.usual_ms)
