"""Options of ``edgevpr index``."""

from dataclasses import dataclass
from typing import Annotated

from edgevpr.compile.index.goals import Goals
from edgevpr.device.targets import load_target
from edgevpr.errors import UsageError
from edgevpr.option import Option


@dataclass(frozen=True)
class IndexOptions:
    """Options of building a gallery; the defaults suit a thousand to a million images."""

    dim: Annotated[int, Option("Width of the index at most.", min=1)] = 256
    kind: Annotated[
        str,
        Option(
            "ivfpq, opq-ivfpq, pq-fastscan, rabitq, sq8 or flat. Left out: ivfpq, or with one of "
            "the three goals below every kind is built and measured."
        ),
    ] = ""
    refine: Annotated[
        str, Option("Store that ranks candidates again: none, fp16 or sq8; fp16 if left out.")
    ] = ""
    factory: Annotated[
        str, Option("FAISS factory string, verbatim; wins over the kind and the refine store.")
    ] = ""
    min_agreement: Annotated[
        float,
        Option("Percent of queries whose exact first image should be found first.", min=0, max=100),
    ] = 99.0
    max_recall_drop: Annotated[
        float | None,
        Option(
            "Goal: points of R@1 that may be lost against exact search in the full space.",
            min=0,
            max=100,
        ),
    ] = None
    max_memory_mb: Annotated[
        float | None, Option("Goal: megabytes of the index at most.", min=0, flag="--max-memory")
    ] = None
    max_search_ms: Annotated[
        float | None,
        Option("Goal: milliseconds of one search on one thread at most (median).", min=0),
    ] = None
    target: Annotated[
        str, Option("Board that the goal for a search is meant for; its times are predicted.")
    ] = ""
    max_minutes: Annotated[
        float | None,
        Option("Minutes after which no further kind is begun; the best so far is kept.", min=0),
    ] = None
    radius_m: Annotated[
        float,
        Option("Metres within which a gallery image answers a query.", min=0, flag="--radius"),
    ] = 25.0
    known_precision: Annotated[
        float,
        Option(
            "Percent of the answers called known that must be right; fitted on the queries.",
            min=0,
            max=100,
        ),
    ] = 99.0
    seed: Annotated[int, Option("Of samples and clusterings.")] = 0

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise UsageError(f"found `dim` {self.dim}, expected 1 or more: pass `dim` 256")
        if not self.radius_m > 0:
            raise UsageError(
                f"found `radius_m` {self.radius_m:g}, expected metres above 0: pass `radius_m` 25"
            )
        if not 0 < self.known_precision <= 100:
            raise UsageError(
                f"found `known_precision` {self.known_precision:g}, expected a percentage above 0 "
                "and at most 100: pass `known_precision` 99"
            )
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise UsageError(
                f"found `max_minutes` {self.max_minutes:g}, expected minutes above 0: leave it "
                "out for no limit"
            )
        if self.target:
            load_target(self.target)
        self.goals  # noqa: B018  raises where a goal is out of range

    @property
    def goals(self) -> Goals:
        """Accuracy that the index must keep, and limits on its cost."""
        return Goals(
            self.min_agreement, self.max_recall_drop, self.max_memory_mb, self.max_search_ms
        )
