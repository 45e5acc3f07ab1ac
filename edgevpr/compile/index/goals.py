"""Goals of an index, and the choice of the operating point that meets them."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgevpr.artifacts.records import OperatingPoint
from edgevpr.errors import UsageError

#: Two settings this close are equally fast beside any engine: the better answer decides.
EQUALLY_FAST_MS = 0.02


@dataclass(frozen=True)
class Goals:
    """Accuracy that an index must keep, and limits on its cost; None: no such goal."""

    #: percent of queries whose exact first image must be found first; as near as can be.
    min_agreement: float = 99.0
    #: points of R@1 that may be lost against exact search in the full space.
    max_recall_drop: float | None = None
    #: megabytes (10^6 bytes) of the index file.
    max_memory_mb: float | None = None
    #: median milliseconds of a single search; on the board where one is named.
    max_search_ms: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.min_agreement <= 100:
            raise UsageError(
                f"found `min_agreement` {self.min_agreement:g}, expected a percentage above 0 and "
                "at most 100: pass `min_agreement` 99"
            )
        if self.max_recall_drop is not None and not 0 <= self.max_recall_drop < 100:
            raise UsageError(
                f"found `max_recall_drop` {self.max_recall_drop:g}, expected points of R@1 from 0 "
                "to below 100: pass `max_recall_drop` 0.3"
            )
        for name in ("max_memory_mb", "max_search_ms"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(
                    f"found `{name}` {value:g}, expected a number above 0: leave `{name}` out for "
                    "no limit"
                )

    @property
    def search(self) -> bool:
        """Whether more than the default kind is worth building."""
        limits = (self.max_recall_drop, self.max_memory_mb, self.max_search_ms)
        return any(limit is not None for limit in limits)

    def described(self) -> dict[str, float]:
        """For ``GalleryRecord.goals``."""
        goals = {
            "target_agreement": self.min_agreement,
            "target_recall": self.max_recall_drop,
            "max_memory_mb": self.max_memory_mb,
            "max_search_ms": self.max_search_ms,
        }
        return {name: value for name, value in goals.items() if value is not None}


def pick(points: Sequence[OperatingPoint], goals: Goals, exact_r1: float | None) -> OperatingPoint:
    """The fastest point that meets every goal; of equally fast ones the best answers.

    Memory, time and lost recall are limits. Agreement alone is a wish: where nothing reaches it,
    the fastest within that share of the best.

    Raises:
        UsageError: no point is within the limits; the nearest ones are named. Or recall is a goal
            and no query has an answer.
    """
    if goals.max_recall_drop is not None and exact_r1 is None:
        raise UsageError(
            "found `max_recall_drop` and no query that a gallery image within `radius_m` answers, "
            "expected some: pass `queries` of the same map, or `min_agreement` instead"
        )
    fits = [p for p in points if _fits(p, goals)]
    if goals.max_recall_drop is None:
        if fits:
            return choose(fits, goals.min_agreement)
        raise _unreachable(points, goals, exact_r1)
    reached = [p for p in fits if _lost(p, exact_r1) <= goals.max_recall_drop + 1e-9]
    if not reached:
        raise _unreachable(points, goals, exact_r1)
    return choose(reached, 0.0)


def pick_near(
    points: Sequence[OperatingPoint], goals: Goals, exact_r1: float | None
) -> tuple[OperatingPoint, bool]:
    """``pick`` and True; or, where it would raise, the best answers within the limit of time and
    False."""
    try:
        return pick(points, goals, exact_r1), True
    except UsageError:
        fits = [p for p in points if _fits(p, goals)]
        return choose(fits or points, 100.0), False


def best(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """The points that no other beats in time, agreement and memory together, by time."""
    kept: list[OperatingPoint] = []
    for point in sorted(points, key=lambda p: (p.search_ms_p50, -p.exact_agreement, _mb(p))):
        if not any(
            k.exact_agreement >= point.exact_agreement and _mb(k) <= _mb(point) for k in kept
        ):
            kept.append(point)
    return kept


def time_of(point: OperatingPoint) -> float:
    """Median search in ms: predicted for the board where one was named, else measured here."""
    return point.search_ms_p50 if point.predicted_ms_p50 is None else point.predicted_ms_p50


def _fits(point: OperatingPoint, goals: Goals) -> bool:
    return (goals.max_memory_mb is None or _mb(point) <= goals.max_memory_mb) and (
        goals.max_search_ms is None or time_of(point) <= goals.max_search_ms
    )


def _mb(point: OperatingPoint) -> float:
    return point.index_mb or 0.0


def _lost(point: OperatingPoint, exact_r1: float | None) -> float:
    return 100.0 if point.r1 is None or exact_r1 is None else exact_r1 - point.r1


def _unreachable(
    points: Sequence[OperatingPoint], goals: Goals, exact_r1: float | None
) -> UsageError:
    """One sentence: what was asked, and the point that misses by least for each goal."""
    asked = []
    if goals.max_recall_drop is not None:
        asked.append(f"loses at most {goals.max_recall_drop:g} points of R@1")
    if goals.max_memory_mb is not None:
        asked.append(f"takes at most {goals.max_memory_mb:g} MB")
    if goals.max_search_ms is not None:
        asked.append(f"answers in {goals.max_search_ms:g} ms")
    fits = [p for p in points if _fits(p, goals)]
    drop = goals.max_recall_drop or 0.0
    nearest = {
        id(p): p
        for p in (
            min(fits or points, key=lambda p: (_lost(p, exact_r1), -p.exact_agreement)),
            min(points, key=lambda p: (_lost(p, exact_r1) > drop, _mb(p))),
            min(
                points,
                key=lambda p: (_lost(p, exact_r1) > drop, time_of(p)),
            ),
        )
    }
    named = "; ".join(
        f"{p.factory} at {p.parameters or 'its one setting'} ("
        + ("" if p.r1 is None else f"loses {_lost(p, exact_r1):.1f} points, ")
        + f"agrees in {p.exact_agreement:.1f}%, {_mb(p):.1f} MB, {time_of(p):.3f} ms)"
        for p in nearest.values()
    )
    return UsageError(
        f"found no index that {', '.join(asked[:-1]) + ' and ' if asked[1:] else ''}{asked[-1]}, "
        f"expected one; nearest: {named}: relax the goal, or change `dim`"
    )


def choose(points: Sequence[OperatingPoint], target: float) -> OperatingPoint:
    """The fastest point that agrees with exact search in ``target`` percent of the queries.

    Where none does (the projection already cost more), the fastest within that share of the best.
    """
    reached = [p for p in points if p.exact_agreement >= target]
    if not reached:
        best = max(p.exact_agreement for p in points)
        reached = [p for p in points if p.exact_agreement >= best * target / 100]
    fastest = min(p.search_ms_p50 for p in reached)
    close = [p for p in reached if p.search_ms_p50 <= fastest + EQUALLY_FAST_MS]
    return max(close, key=lambda p: p.exact_agreement)  # of equals the first: the smallest setting


def pareto(points: Sequence[OperatingPoint], chosen: OperatingPoint) -> list[OperatingPoint]:
    """The points that no other beats in both time and agreement, and the chosen one, by time."""
    kept: list[OperatingPoint] = []
    for point in sorted(points, key=lambda p: (p.search_ms_p50, -p.exact_agreement)):
        if not kept or point.exact_agreement > kept[-1].exact_agreement:
            kept.append(point)
    if chosen not in kept:
        kept.append(chosen)
    return sorted(kept, key=lambda p: p.search_ms_p50)
