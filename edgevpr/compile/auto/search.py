"""Search for the fastest assignment of precisions that keeps the recall.

1. Each group of layers alone in INT8: the descriptor error it causes on calibration images, and the
   milliseconds it saves. On a GPU target, each alone in FP16, too.
2. Where the base precision (FP16 on a GPU) itself loses more than the limit, groups go to FP32, the
   one with the largest FP16 error first, until it does not.
3. Groups that save time are ordered by error for each millisecond saved. Prefixes of that order go
   to INT8: the longest that keeps R@1 is found by bisection, then each further group is tried on
   top. Recall is measured on held-out images through the gallery's own index.
4. Of all that kept the recall the fastest (of equally fast ones, that with the most recall) is
   measured once more, and taken if it is faster than the base by more than timings vary, or as
   fast and smaller; else the next; else the base.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from edgevpr.compile.auto.assignment import Assignment, GpuExecutor
from edgevpr.compile.auto.decision import AssignmentResult, Decision, GroupError
from edgevpr.compile.auto.groups import Group
from edgevpr.compile.auto.measurements import Measurements
from edgevpr.compile.engine.parity import GATES
from edgevpr.compile.precision.choices import Precision
from edgevpr.progress import Track, silent

#: Faster or smaller by less than this share is neither; of two within ``EQUAL`` of the base's
#: latency, the one that keeps more recall.
NOISE, SMALLER, EQUAL = 0.02, 0.1, 0.01


@dataclass(frozen=True)
class Goal:
    """Limits of the search."""

    #: points of R@1 that may be lost.
    max_recall_drop: float = 0.5
    minutes: float = 10.0


@dataclass
class Search:
    """One search, started by ``run``."""

    measurements: Measurements
    groups: Sequence[Group]
    goal: Goal
    track: Track = silent
    clock: Callable[[], float] = time.monotonic
    #: results by assignment, in the order they were measured.
    seen: dict[Assignment, AssignmentResult] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.executor = self.measurements.executor
        self._started = self.clock()
        self._deadline = self._started + 60 * self.goal.minutes

    def run(self, *, usual: Sequence[str]) -> tuple[Decision, Assignment]:
        """Search and decide.

        Args:
            usual: the layers that precision int8 takes, as one more candidate.
        """
        images = len(self.measurements.tuning.images)
        if 100 / images > self.goal.max_recall_drop:
            self.remarks.append(
                f"one of {images} tuning images is {100 / images:.2f} points, more than the limit: "
                "any loss counts as too much"
            )
        alone = self._alone()
        base = self._base(alone)
        self._prefixes(alone, base)
        self._usual(usual, base)
        chosen, reason = self._choose(base)
        self._resolve(self.seen[chosen], images)
        levels = dict.fromkeys(chosen.int8, "int8") | dict.fromkeys(chosen.fp32, "fp32")
        rows = [
            msgspec.structs.replace(row, precision=levels.get(row.name, self.executor.base))
            for row in alone
        ]
        decision = Decision(
            precision=self._precision(chosen),
            chosen=self.seen[chosen].name,
            reason=reason,
            max_recall_drop=self.goal.max_recall_drop,
            fp32_r1=self.measurements.fp32_r1,
            tuning=self.measurements.tuning.source,
            tuning_images=images,
            provenance=self.executor.provenance,
            basis=self.executor.basis,
            groups=rows,
            candidates=list(self.seen.values()),
            seconds=round(self.clock() - self._started, 1),
            remarks=self.remarks,
        )
        return decision, chosen

    def _resolve(self, chosen: AssignmentResult, images: int) -> None:
        """Add a remark where the drop chosen is within two standard errors of the limit."""
        error = chosen.resolution(images)
        if chosen.drop + 2 * error > self.goal.max_recall_drop:
            self.remarks.append(
                f"{chosen.lost} of {images} tuning images lost, {chosen.gained} gained: the drop "
                f"of {chosen.drop:.2f} points is known to {2 * error:.2f} (two standard errors), "
                f"the limit is {self.goal.max_recall_drop:g}; more tuning images narrow it"
            )

    def _alone(self) -> list[GroupError]:
        rows: list[GroupError] = []
        for group in self.track(self.groups, "error of each group", len(self.groups)):
            if self._time_is_up() and rows:
                self.remarks.append(
                    f"the time was up after {len(rows)} of {len(self.groups)} groups: the others "
                    f"stay in {self.executor.base}"
                )
                break
            rows.append(self.measurements.alone(group))
        return rows

    def _base(self, alone: Sequence[GroupError]) -> Assignment:
        """The base precision, with groups in FP32 as far as it needs them to keep the recall."""
        base = Assignment()
        self._measure(base, self.executor.base)
        if not isinstance(self.executor, GpuExecutor):
            return base
        order = [g.name for g in sorted(alone, key=lambda g: (-(g.fp16_error or 0.0), g.name))]
        every = [group.name for group in self.groups]
        counts = {1, *(len(order) * share // 4 for share in (1, 2, 3))} - {0, len(every)}
        for names in [*(order[:count] for count in sorted(counts)), every]:
            if self._admissible(base):
                break
            base = Assignment(fp32=tuple(names))
            self._measure(base, f"fp16, {len(names)} groups in fp32")
        return base

    def _prefixes(self, alone: Sequence[GroupError], base: Assignment) -> None:
        gaining = [g for g in alone if g.saved_ms > 0 and g.name not in base.fp32]
        order = [
            g.name
            for g in sorted(gaining, key=lambda g: (max(g.int8_error, 0) / g.saved_ms, g.name))
        ]
        if not order:
            self.remarks.append("no group of layers is faster in INT8")
            return

        def prefix(count: int) -> Assignment:
            return Assignment(int8=tuple(order[:count]), fp32=base.fp32)

        low, high = 0, len(order)
        if self._try(prefix(high), f"int8, all {high} groups that gain"):
            low = high
        while high - low > 1 and not self._time_is_up():
            middle = (low + high) // 2
            if self._try(prefix(middle), f"int8, first {middle} of {len(order)} groups"):
                low = middle
            else:
                high = middle
        best = prefix(low)
        for name in order[low + 1 :]:
            if self._time_is_up():
                break
            more = Assignment(int8=(*best.int8, name), fp32=base.fp32)
            if self._try(more, f"int8, {len(best.int8)} groups and {name}"):
                best = more

    def _usual(self, layers: Sequence[str], base: Assignment) -> None:
        """Try the rule of precision int8, with a group in INT8 where most of its layers are."""
        wanted = set(layers)
        names = tuple(
            g.name
            for g in self.groups
            if g.name not in base.fp32 and sum(n in wanted for n in g.nodes) * 2 > len(g.nodes)
        )
        if names:
            self._try(Assignment(int8=names, fp32=base.fp32), "int8, groups of the usual rule")

    def _try(self, assignment: Assignment, name: str) -> bool:
        for seen in self.seen:
            if set(seen.int8) == set(assignment.int8) and set(seen.fp32) == set(assignment.fp32):
                return self._admissible(seen)
        if self._time_is_up():
            self.remarks.append(f"the time was up before: {name}")
            return False
        self._measure(assignment, name)
        return self._admissible(assignment)

    def _measure(self, assignment: Assignment, name: str) -> None:
        for _ in self.track([None], f"trying {name}", 1):
            found = self.measurements.recall(assignment)
            timed = self.measurements.latency(assignment)
        drop, gate = self.measurements.fp32_r1 - found.r1, GATES["fp16"] or 0.0
        verdict = f"loses {drop:.2f} points" if drop > self._limit() else ""
        if not assignment.int8 and self.executor.base == "fp16" and not found.cosine >= gate:
            verdict = f"cosine {found.cosine:.5f} is below FP16's gate {gate}"
        self.seen[assignment] = AssignmentResult(
            name=name,
            int8=list(assignment.int8),
            fp32=list(assignment.fp32),
            r1=round(found.r1, 3),
            drop=round(drop, 3),
            descriptor_error=found.error,
            latency_ms=round(timed.own, 4),
            base_ms=round(timed.base, 4),
            megabytes=round(self.measurements.megabytes(assignment), 3),
            verdict=verdict,
            lost=found.lost,
            gained=found.gained,
        )

    def _choose(self, base: Assignment) -> tuple[Assignment, str]:
        """The fastest of the admissible, and why; every candidate gets its verdict."""
        confirmed: set[Assignment] = set()
        chosen, reason = self._fastest(base)
        while chosen.int8 and chosen not in confirmed:
            confirmed.add(chosen)
            self._confirm(chosen)
            chosen, reason = self._fastest(base)
        for assignment, candidate in self.seen.items():
            verdict = "chosen" if assignment == chosen else candidate.verdict
            verdict = verdict or "keeps the recall, gains too little or less than the chosen one"
            self.seen[assignment] = msgspec.structs.replace(candidate, verdict=verdict)
        return chosen, reason

    def _fastest(self, base: Assignment) -> tuple[Assignment, str]:
        own = self.seen[base]
        rivals = [a for a in self.seen if a.int8 and self._admissible(a)]
        if not rivals:
            return base, (
                f"no INT8 assignment that was tried keeps R@1 within {self.goal.max_recall_drop:g} "
                f"points: {self._precision(base)} stays"
            )
        fastest = min(map(self._ratio, rivals))
        close = [a for a in rivals if self._ratio(a) <= fastest + EQUAL]
        best = min(close, key=lambda a: (-self.seen[a].r1, self._ratio(a), self.seen[a].name))
        ratio, found = self._ratio(best), self.seen[best]
        figures = (
            f"{found.latency_ms:.3f} ms instead of {found.base_ms:.3f} "
            f"({self.executor.provenance}), {found.megabytes:.1f} MB instead of "
            f"{own.megabytes:.1f}, R@1 {found.r1:.1f} instead of {self.measurements.fp32_r1:.1f}"
        )
        if ratio < 1 - NOISE:
            return best, f"INT8 in {len(best.int8)} groups is faster: {figures}"
        if ratio <= 1 + NOISE and found.megabytes < (1 - SMALLER) * own.megabytes:
            return best, f"INT8 in {len(best.int8)} groups is as fast and smaller: {figures}"
        return base, f"INT8 is not faster at that recall ({figures}): {self._precision(base)} stays"

    def _confirm(self, chosen: Assignment) -> None:
        """Measure the choice again, as it goes into the bundle, before anything rests on it.

        On a CPU it is timed for longer; on a GPU its recall is that of the typed graph, with FP16
        beside the INT8.
        """
        candidate = self.seen[chosen]
        for _ in self.track([None], "confirming the choice", 1):
            if self.executor.base == "fp32":
                timed = self.measurements.latency(chosen, again=True)
                self.seen[chosen] = msgspec.structs.replace(
                    candidate, latency_ms=round(timed.own, 4), base_ms=round(timed.base, 4)
                )
                continue
            found = self.measurements.recall(chosen, typed=True)
            drop = self.measurements.fp32_r1 - found.r1
            lost = f"loses {drop:.2f} points with FP16 beside it"
            self.seen[chosen] = msgspec.structs.replace(
                candidate,
                r1=round(found.r1, 3),
                drop=round(drop, 3),
                descriptor_error=found.error,
                lost=found.lost,
                gained=found.gained,
                verdict=lost if drop > self._limit() else "",
            )

    def _precision(self, assignment: Assignment) -> Precision:
        if assignment.int8:
            return "int8"
        return "fp32" if len(assignment.fp32) == len(self.groups) else self.executor.base

    def _admissible(self, assignment: Assignment) -> bool:
        return not self.seen[assignment].verdict

    def _limit(self) -> float:
        return self.goal.max_recall_drop + 1e-9

    def _ratio(self, assignment: Assignment) -> float:
        """Latency over that of the base beside which it was taken."""
        return self.seen[assignment].latency_ms / self.seen[assignment].base_ms

    def _time_is_up(self) -> bool:
        return self.clock() > self._deadline
