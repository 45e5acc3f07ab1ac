"""Policies: the exit that a frame begins with, and whether it goes on to a deeper one.

Plain objects of one thread, without a clock: the localizer tells them how old a frame is, and how
long everything took.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from edgevpr.runtime.exits.budget_file import BudgetFile
from edgevpr.runtime.exits.decaying import DecayingHistogram
from edgevpr.runtime.exits.exit_times import ExitTimes

#: Median and 95th percentile in ms of some exits, measured before.
Seeds = Mapping[str, tuple[float, float]]


class Policy(Protocol):
    """Asked by the localizer, in the order of a frame: ``first``, ``took``, ``deeper``, ..."""

    #: exits that may be answered by, earliest first.
    exits: tuple[str, ...]

    def ways(self) -> list[tuple[str, ...]]:
        """What is to be warmed up: exits one after the other on the same frame."""

    def warmed_up(self, way: tuple[str, ...], engine_ms: Sequence[float]) -> None:
        """Times of the last exit of a way, after those before it."""

    def first(self, age_ms: float) -> str:
        """The exit to begin with; preprocessing is over, and part of the frame's age."""

    def took(self, before: str, exit: str, engine_ms: float, search_ms: float) -> None:
        """Times of an exit, gone on to from ``before`` ("" from the image)."""

    def deeper(self, exit: str, confidence: float | None, age_ms: float) -> str | None:
        """The exit to go on to; None where the answer is good enough, or there is no time."""

    def late(self, age_ms: float) -> bool | None:
        """Whether an answer of this age came past the deadline; None without one."""

    def open(self) -> None:
        """Called once before the first frame."""

    def close(self) -> None:
        """Called once after the last."""


class FixedExit:
    """Always the same exit."""

    def __init__(self, exit: str) -> None:
        self.exits: tuple[str, ...] = (exit,)

    def ways(self) -> list[tuple[str, ...]]:
        return [self.exits]

    def warmed_up(self, way: tuple[str, ...], engine_ms: Sequence[float]) -> None:
        pass

    def first(self, age_ms: float) -> str:
        return self.exits[0]

    def took(self, before: str, exit: str, engine_ms: float, search_ms: float) -> None:
        pass

    def deeper(self, exit: str, confidence: float | None, age_ms: float) -> str | None:
        return None

    def late(self, age_ms: float) -> bool | None:
        return None

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass


class BudgetExit(FixedExit):
    """The deepest exit whose share of the full path's work is within a level from 0 to 1.

    Args:
        shares: multiply-adds of each exit as a share of the full path's, earliest first; below
            the first exit's, the first.
        budget: the level.
    """

    def __init__(self, shares: Mapping[str, float], budget: BudgetFile) -> None:
        self.exits = tuple(shares)
        self._shares = shares
        self._budget = budget

    def ways(self) -> list[tuple[str, ...]]:
        return [(exit,) for exit in self.exits]

    def first(self, age_ms: float) -> str:
        level = self._budget.level()
        within = [exit for exit, share in self._shares.items() if share <= level + 1e-9]
        return within[-1] if within else self.exits[0]

    def open(self) -> None:
        self._budget.open()

    def close(self) -> None:
        self._budget.close()


class DeadlineExit(FixedExit):
    """The deepest exit that answers in time: age, p95 of the exit, p95 of the search.

    Where not even the first one does, it is taken, and its answer may be late. Exits that were too
    slow are retried (``exit_times``).

    Args:
        exits: earliest first.
        deadline_ms: from the pixels being there to the answer.
        seeds: times that count until the exits have been warmed up.
    """

    def __init__(
        self, exits: Sequence[str], deadline_ms: float, seeds: Seeds | None = None
    ) -> None:
        self.exits = tuple(exits)
        self.deadline_ms = deadline_ms
        self._times = ExitTimes(self.exits, seeds)
        self._search = DecayingHistogram()
        self._retrying: tuple[str, float] | None = None

    def ways(self) -> list[tuple[str, ...]]:
        return [(exit,) for exit in self.exits]

    def warmed_up(self, way: tuple[str, ...], engine_ms: Sequence[float]) -> None:
        self._times.warmed_up(way[-1], engine_ms)

    def first(self, age_ms: float) -> str:
        left = self.deadline_ms - age_ms - (self._search.percentile(95) or 0.0)
        self._retrying = None
        chosen = 0
        for number in range(len(self.exits) - 1, 0, -1):
            if self._times.p95_ms(self.exits[number]) <= left:
                chosen = number
                break
        for number in range(len(self.exits) - 1, chosen, -1):
            exit = self.exits[number]
            predicted = self._times.predicted_ms(exit)
            fits = predicted is not None and predicted <= left
            if fits and self._times.retry_is_due(exit):
                self._retrying = exit, left
                return exit
        return self.exits[chosen]

    def took(self, before: str, exit: str, engine_ms: float, search_ms: float) -> None:
        if self._retrying is not None:
            self._times.retried(exit, engine_ms <= self._retrying[1])
            self._retrying = None
        self._times.add(exit, engine_ms)
        self._search.add(search_ms)

    def late(self, age_ms: float) -> bool | None:
        return age_ms > self.deadline_ms


class ConfidentExit(FixedExit):
    """The first exit; where its answer is not sure enough, once more at one deeper exit.

    The second answer goes on from what the first has computed. It is that of the deepest exit that
    leaves the answer in time, of the last one without a deadline; where none does, the first answer
    stands.

    Args:
        exits: earliest first; each with a confidence model.
        least: confidence from which on the first answer stands.
        deadline_ms: from the pixels being there to the answer; None: none.
        seeds: as of ``DeadlineExit``.
    """

    def __init__(
        self,
        exits: Sequence[str],
        least: float,
        deadline_ms: float | None = None,
        seeds: Seeds | None = None,
    ) -> None:
        self.exits = tuple(exits)
        self.least, self.deadline_ms = least, deadline_ms
        # Of the first exit its own times, as it runs with every frame; of the others those of going
        # on. The whole way to one takes longer: that counts until it has been warmed up.
        known = {exit: ms for exit, ms in (seeds or {}).items() if exit in self.exits[1:]}
        self._onward = ExitTimes(self.exits, known)
        self._search = DecayingHistogram()
        self._retrying: tuple[str, float] | None = None

    def ways(self) -> list[tuple[str, ...]]:
        first = self.exits[:1]
        return [first, *((*first, exit) for exit in self.exits[1:])]

    def warmed_up(self, way: tuple[str, ...], engine_ms: Sequence[float]) -> None:
        self._onward.warmed_up(way[-1], engine_ms)

    def first(self, age_ms: float) -> str:
        self._retrying = None
        return self.exits[0]

    def took(self, before: str, exit: str, engine_ms: float, search_ms: float) -> None:
        if before and self._retrying is not None:
            self._onward.retried(exit, engine_ms <= self._retrying[1])
        self._onward.add(exit, engine_ms)
        self._search.add(search_ms)

    def deeper(self, exit: str, confidence: float | None, age_ms: float) -> str | None:
        if exit != self.exits[0] or len(self.exits) == 1:
            return None
        if confidence is not None and confidence >= self.least:
            return None
        if self.deadline_ms is None:
            return self.exits[-1]
        left = self.deadline_ms - age_ms - (self._search.percentile(95) or 0.0)
        deepest_first = self.exits[:0:-1]
        within = next((e for e in deepest_first if self._onward.p95_ms(e) <= left), None)
        for each in deepest_first:
            if each == within:
                break
            predicted = self._onward.predicted_ms(each)
            fits = predicted is not None and predicted <= left
            if fits and self._onward.retry_is_due(each):
                self._retrying = each, left
                return each
        return within

    def late(self, age_ms: float) -> bool | None:
        return None if self.deadline_ms is None else age_ms > self.deadline_ms
