"""Counters of a run, in memory of fixed size."""

import time
from collections import Counter

import msgspec
import numpy as np

from edgevpr.printable import utf8
from edgevpr.redact import redact
from edgevpr.runtime.answers import Answer, FrameError, LatencySpread, RunSummary
from edgevpr.runtime.sources.frames import Source

#: Answers whose times the summary covers.
KEPT = 10_000


class Tally:
    """Counts over the run, and the times of its last answers."""

    def __init__(self) -> None:
        self.frames = 0
        self.errors = 0
        # total, engine, search, age; a ring, allocated and touched once
        self._times = np.zeros((KEPT, 4))
        self._answers = 0
        self._exits: Counter[str] = Counter()
        self._late: int | msgspec.UnsetType = msgspec.UNSET
        self._started = time.monotonic()

    def add(self, item: Answer | FrameError) -> None:
        self.frames += 1
        if isinstance(item, FrameError):
            self.errors += 1
            return
        ms = item.ms
        row = self._answers % KEPT
        self._times[row] = ms.total, ms.engine, ms.search, item.frame_age_ms
        self._answers += 1
        if isinstance(item.exit, str):
            self._exits[item.exit] += 1
        if isinstance(item.late, bool):
            before = self._late if isinstance(self._late, int) else 0
            self._late = before + item.late

    def summary(self, source: Source, *, interrupted: bool, swaps: int) -> RunSummary:
        seconds = time.monotonic() - self._started
        total, engine, search, age = self._spreads()
        return RunSummary(
            frames=self.frames,
            errors=self.errors,
            drops=source.drops,
            seconds=round(seconds, 3),
            fps=round(self.frames / seconds, 2) if seconds > 0 else 0.0,
            end_to_end_ms=total,
            engine_ms=engine,
            search_ms=search,
            frame_age_ms=age,
            interrupted=interrupted,
            remarks=[utf8(redact(source.remark))] if source.remark else [],
            swaps=swaps,
            exits=dict(self._exits.most_common()) if self._exits else msgspec.UNSET,
            misses=self._late,
        )

    def _spreads(self) -> list[LatencySpread | None]:
        if not self._answers:
            return [None] * 4
        kept = self._times[: min(self._answers, KEPT)]
        p50, p95 = np.percentile(kept, [50, 95], axis=0)
        return [
            LatencySpread(round(float(a), 3), round(float(b), 3))
            for a, b in zip(p50, p95, strict=True)
        ]
