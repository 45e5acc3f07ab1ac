"""``--precision auto``: the fastest assignment of precisions that keeps the recall.

1. Each group of layers alone in INT8: the descriptor error it causes on calibration images, and the
   milliseconds it saves. On a GPU target, each alone in FP16, too.
2. Where the base precision (FP16 on a GPU) itself loses more than the limit, groups go to FP32, the
   one with the largest FP16 error first, until it does not.
3. Groups that save time are ordered by error for each millisecond saved. Prefixes of that order go
   to INT8: the longest that keeps R@1 is found by bisection, then each further group is tried on
   top. Recall is measured on held-out images through the gallery's own index.
4. Of all that kept the recall the fastest is measured once more, and taken if it is faster than
   the base by more than timing can tell, or as fast and smaller; else the next; else the base.

Everything measured is cached by content: an interrupted search goes on where it was, and the same
inputs give the same decision.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.compile.assignment import Assignment, Gpu, Machine
from edgevpr.compile.cache import Cache, array_digest, graph_digest
from edgevpr.compile.decision import Candidate, Decision, GroupError
from edgevpr.compile.groups import Group
from edgevpr.compile.parity import GATES
from edgevpr.compile.precision import Typed
from edgevpr.compile.reference import describe
from edgevpr.compile.tuning import Map, Tuning
from edgevpr.progress import Track, silent

#: Calibration images that a group's descriptor error is averaged over.
ERROR_IMAGES = 16
#: Faster or smaller by less than this share is neither.
NOISE, SMALLER = 0.02, 0.1


@dataclass(frozen=True)
class Goal:
    """What is asked of the search."""

    #: points of R@1 that may be lost.
    max_recall_drop: float = 0.5
    minutes: float = 10.0


class _Recall(msgspec.Struct):
    r1: float
    error: float
    #: smallest cosine to FP32.
    cosine: float


class _Alone(msgspec.Struct):
    int8_error: float
    fp16_error: float | None
    own_ms: float
    base_ms: float


class _Milliseconds(msgspec.Struct):
    own: float
    base: float


@dataclass
class Search:
    """One search; ``run`` does it."""

    machine: Machine
    groups: list[Group]
    calibration: NDArray[np.uint8]
    tuning: Tuning
    gallery: Map
    gallery_digest: str
    goal: Goal
    cache: Cache
    #: folder for what is not cached.
    scratch: Path
    track: Track = silent
    clock: Callable[[], float] = time.monotonic
    #: what one assignment gave, in the order they were looked at.
    seen: dict[Assignment, Candidate] = field(default_factory=dict)
    _confirmed: set[Assignment] = field(default_factory=set)
    _made: int = 0

    def run(self, *, usual: list[str]) -> tuple[Decision, Typed]:
        """Search, decide, and give the graph.

        Args:
            usual: the layers that ``--precision int8`` takes, as one more candidate.
        """
        started = self.clock()
        self.deadline = started + 60 * self.goal.minutes
        self.remarks: list[str] = []
        self._key = self._content()
        self.fp32 = self._describe_fp32()
        self.fp32_r1 = self.tuning.r1(self.gallery, self.fp32)
        resolution = 100 / len(self.tuning.images)
        if resolution > self.goal.max_recall_drop:
            self.remarks.append(
                f"one of {len(self.tuning.images)} tuning images is {resolution:.2f} points, more "
                "than the limit: any loss counts as too much"
            )
        alone = self._alone()
        base = self._base(alone)
        self._prefixes(alone, base)
        self._usual(usual, base)
        chosen, reason = self._choose(base)
        levels = dict.fromkeys(chosen.int8, "int8") | dict.fromkeys(chosen.fp32, "fp32")
        rows = [
            msgspec.structs.replace(row, precision=levels.get(row.name, self.machine.base))
            for row in alone
        ]
        decision = Decision(
            precision=self._precision(chosen),
            chosen=self.seen[chosen].name,
            reason=reason,
            max_recall_drop=self.goal.max_recall_drop,
            fp32_r1=self.fp32_r1,
            tuning=self.tuning.source,
            tuning_images=len(self.tuning.images),
            provenance=self.machine.provenance,
            basis=self.machine.basis,
            groups=rows,
            candidates=list(self.seen.values()),
            seconds=round(self.clock() - started, 1),
            remarks=self.remarks,
        )
        return decision, self.machine.typed(chosen)

    def _precision(self, chosen: Assignment) -> str:
        if chosen.int8:
            return "int8"
        everything = len(chosen.fp32) == len(self.groups)
        return "fp32" if everything else self.machine.base

    def _content(self) -> dict[str, Any]:
        """What every measurement of this search depends on."""
        machine: Any = self.machine
        return {
            "clean": graph_digest(machine.clean),
            "quantized": graph_digest(machine.quantized),
            "basis": self.machine.basis,
            "calibration": array_digest(self.calibration),
            "tuning": array_digest(self.tuning.images),
            "gallery": self.gallery_digest,
        }

    def _describe_fp32(self) -> NDArray[np.float32]:
        machine: Any = self.machine
        key = {"graph": self._key["clean"], "images": self._key["tuning"]}
        found = self.cache.array(
            "descriptors",
            key,
            lambda: describe(machine.clean, self.tuning.images),
            self._folder(),
        )
        return np.asarray(found, np.float32)

    def _alone(self) -> list[GroupError]:
        machine: Any = self.machine
        images = self.calibration[:ERROR_IMAGES]
        reference = describe(machine.clean, images)
        rows: list[GroupError] = []
        for group in self.track(self.groups, "error of each group", len(self.groups)):
            if self._late() and rows:
                self.remarks.append(
                    f"the time was up after {len(rows)} of {len(self.groups)} groups: the others "
                    f"stay in {self.machine.base}"
                )
                break

            def measure(group: Group = group) -> _Alone:
                assignment = Assignment(int8=(group.name,))
                int8 = _error(describe(self.machine.graph(assignment), images), reference)
                half = None
                if isinstance(self.machine, Gpu):
                    rounded = describe(self.machine.half(group.name), images, as_written=True)
                    half = _error(rounded, reference)
                return _Alone(int8, half, *self.machine.latency_ms(assignment))

            key = {**self._key, "group": group.name, "nodes": list(group.nodes)}
            alone = self.cache.record("auto-group", key, _Alone, measure, self._folder())
            rows.append(
                GroupError(
                    name=group.name,
                    kind=group.kind,
                    layers=len(group.nodes),
                    mmacs=round(group.macs / 1e6, 2),
                    int8_error=alone.int8_error,
                    fp16_error=alone.fp16_error,
                    saved_ms=round(alone.base_ms - alone.own_ms, 4),
                )
            )
        return rows

    def _base(self, alone: list[GroupError]) -> Assignment:
        """The base precision, with groups in FP32 as far as it needs them to keep the recall."""
        order = sorted(alone, key=lambda g: (-(g.fp16_error or 0.0), g.name))
        base = Assignment()
        self._look(base, self.machine.base)
        if isinstance(self.machine, Gpu):
            counts = [1, *(len(order) * share // 4 for share in (1, 2, 3)), len(self.groups)]
            for count in sorted({c for c in counts if c > 0}):
                if self._admissible(base):
                    break
                names = [g.name for g in (order if count < len(self.groups) else self.groups)]
                base = Assignment(fp32=tuple(names[:count]))
                self._look(base, f"fp16, {count} groups in fp32")
        return base

    def _prefixes(self, alone: list[GroupError], base: Assignment) -> None:
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
        while high - low > 1 and not self._late():
            middle = (low + high) // 2
            if self._try(prefix(middle), f"int8, first {middle} of {len(order)} groups"):
                low = middle
            else:
                high = middle
        best = prefix(low)
        for name in order[low + 1 :]:
            if self._late():
                break
            more = Assignment(int8=(*best.int8, name), fp32=base.fp32)
            if self._try(more, f"int8, {len(best.int8)} groups and {name}"):
                best = more

    def _usual(self, layers: list[str], base: Assignment) -> None:
        """The rule of ``--precision int8``, as far as groups can say it."""
        wanted = set(layers)
        names = tuple(
            g.name
            for g in self.groups
            if g.name not in base.fp32 and sum(n in wanted for n in g.nodes) * 2 > len(g.nodes)
        )
        if names:
            self._try(Assignment(int8=names, fp32=base.fp32), "int8, groups of the usual rule")

    def _try(self, assignment: Assignment, name: str) -> bool:
        same = next(
            (a for a in self.seen
             if set(a.int8) == set(assignment.int8) and set(a.fp32) == set(assignment.fp32)), None
        )  # fmt: skip
        if same is not None:
            return self._admissible(same)
        if self._late():
            self.remarks.append(f"the time was up before: {name}")
            return False
        self._look(assignment, name)
        return self._admissible(assignment)

    def _look(self, assignment: Assignment, name: str) -> None:
        """Measure one assignment, or find what was measured before."""
        key = {**self._key, "int8": sorted(assignment.int8), "fp32": sorted(assignment.fp32)}

        def recall() -> _Recall:
            if assignment == Assignment() and self.machine.base == "fp32":
                return self._recall(self.fp32)
            if assignment.int8:
                return self._recall(describe(self.machine.graph(assignment), self.tuning.images))
            return self._recall(self.machine.describe(assignment, self.tuning.images))

        for _ in self.track([None], f"trying {name}", 1):
            found = self.cache.record("auto-recall", key, _Recall, recall, self._folder())
            timed = self.cache.record(
                "auto-latency",
                key,
                _Milliseconds,
                lambda: _Milliseconds(*self.machine.latency_ms(assignment)),
                self._folder(),
            )
        drop = self.fp32_r1 - found.r1
        gate = GATES["fp16"] or 0.0
        verdict = f"loses {drop:.2f} points" if drop > self._limit() else ""
        if not assignment.int8 and self.machine.base == "fp16" and found.cosine < gate:
            verdict = f"cosine {found.cosine:.5f} is below FP16's gate {gate}"
        self.seen[assignment] = Candidate(
            name=name,
            int8=list(assignment.int8),
            fp32=list(assignment.fp32),
            r1=round(found.r1, 3),
            drop=round(drop, 3),
            descriptor_error=found.error,
            latency_ms=round(timed.own, 4),
            base_ms=round(timed.base, 4),
            megabytes=round(self._megabytes(assignment), 3),
            verdict=verdict,
        )

    def _choose(self, base: Assignment) -> tuple[Assignment, str]:
        """The fastest of the admissible, and why; every candidate gets its verdict."""
        while True:
            chosen, reason = self._fastest(base)
            if not chosen.int8 or chosen in self._confirmed:
                break
            self._confirmed.add(chosen)
            self._confirm(chosen)
        for assignment, candidate in self.seen.items():
            verdict = "chosen" if assignment == chosen else candidate.verdict
            verdict = verdict or "keeps the recall, gains too little or less than the chosen one"
            self.seen[assignment] = msgspec.structs.replace(candidate, verdict=verdict)
        return chosen, reason

    def _fastest(self, base: Assignment) -> tuple[Assignment, str]:
        own = self.seen[base]
        rivals = [a for a in self.seen if a.int8 and self._admissible(a)]
        rivals.sort(key=lambda a: (self._ratio(a), self.seen[a].name))
        if not rivals:
            return base, (
                f"no INT8 assignment that was tried keeps R@1 within {self.goal.max_recall_drop:g} "
                f"points: {self._precision(base)} stays"
            )
        best = rivals[0]
        ratio, found = self._ratio(best), self.seen[best]
        told = (
            f"{found.latency_ms:.3f} ms instead of {found.base_ms:.3f} "
            f"({self.machine.provenance}), {found.megabytes:.1f} MB instead of "
            f"{own.megabytes:.1f}, R@1 {found.r1:.1f} instead of {self.fp32_r1:.1f}"
        )
        if ratio < 1 - NOISE:
            return best, f"INT8 in {len(best.int8)} groups is faster: {told}"
        if ratio <= 1 + NOISE and found.megabytes < (1 - SMALLER) * own.megabytes:
            return best, f"INT8 in {len(best.int8)} groups is as fast and smaller: {told}"
        return base, (f"INT8 is not faster at that recall ({told}): {self._precision(base)} stays")

    def _confirm(self, chosen: Assignment) -> None:
        """Measure the choice again, as it goes into the bundle, before anything rests on it.

        On a CPU it is timed for longer; on a GPU its recall is that of the typed graph, with FP16
        beside the INT8.
        """
        candidate, cpu = self.seen[chosen], self.machine.base == "fp32"
        key = {**self._key, "confirmed": sorted(chosen.int8), "fp32": sorted(chosen.fp32)}
        for _ in self.track([None], "confirming the choice", 1):
            if cpu:
                timed = self.cache.record(
                    "auto-latency",
                    key,
                    _Milliseconds,
                    lambda: _Milliseconds(*self.machine.latency_ms(chosen, again=True)),
                    self._folder(),
                )
                self.seen[chosen] = msgspec.structs.replace(
                    candidate, latency_ms=round(timed.own, 4), base_ms=round(timed.base, 4)
                )
                return
            found = self.cache.record(
                "auto-recall",
                key,
                _Recall,
                lambda: self._recall(self.machine.describe(chosen, self.tuning.images)),
                self._folder(),
            )
        drop = self.fp32_r1 - found.r1
        self.seen[chosen] = msgspec.structs.replace(
            candidate,
            r1=round(found.r1, 3),
            drop=round(drop, 3),
            descriptor_error=found.error,
            verdict="" if drop <= self._limit() else f"loses {drop:.2f} points with FP16 beside it",
        )

    def _recall(self, found: NDArray[np.float32]) -> _Recall:
        if not np.isfinite(found).all():
            return _Recall(0.0, 1.0, 0.0)
        cosine = (found * self.fp32).sum(axis=1)
        r1 = self.tuning.r1(self.gallery, found)
        return _Recall(r1, float(1 - cosine.mean()), float(cosine.min()))

    def _admissible(self, assignment: Assignment) -> bool:
        return not self.seen[assignment].verdict

    def _limit(self) -> float:
        return self.goal.max_recall_drop + 1e-9

    def _ratio(self, assignment: Assignment) -> float:
        """Latency over that of the base beside which it was taken."""
        return self.seen[assignment].latency_ms / self.seen[assignment].base_ms

    def _megabytes(self, assignment: Assignment) -> float:
        """Weights: one byte in INT8, four in FP32, two in FP16."""
        machine: Any = self.machine
        sizes = {t.name: int(np.prod(t.dims)) for t in machine.clean.graph.initializer}
        int8, fp32 = set(machine.named(assignment.int8)), set(machine.named(assignment.fp32))
        base = 4 if self.machine.base == "fp32" else 2
        total = 0
        for node in machine.clean.graph.node:
            width = 1 if node.name in int8 else 4 if node.name in fp32 else base
            total += width * sum(sizes.pop(name, 0) for name in node.input)
        return total / 1e6

    def _late(self) -> bool:
        return self.clock() > self.deadline

    def _folder(self) -> Path:
        self._made += 1
        return self.scratch / f"auto-{self._made}"


def _error(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """1 - mean cosine of unit rows; 1 where a descriptor is not finite."""
    if not np.isfinite(found).all():
        return 1.0
    return float(1 - (found.astype(np.float64) * reference).sum(axis=1).mean())
