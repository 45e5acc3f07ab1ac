"""Options of an index."""

from dataclasses import dataclass

from edgevpr.compile.index.goals import Goals
from edgevpr.device.targets import load_target
from edgevpr.errors import UsageError


@dataclass(frozen=True)
class IndexOptions:
    """How a gallery is built; the defaults suit a map of a thousand to a million images."""

    #: width d of the index at most (--dim).
    dim: int = 256
    #: index kind and refine store by name (--kind, --refine); empty: the default or, with a goal
    #: set, all of them.
    kind: str = ""
    refine: str = ""
    #: FAISS factory string, verbatim (--factory); wins over the two above.
    factory: str = ""
    #: share of held-out queries, percent, whose exact first image must be found first.
    target_agreement: float = 99.0
    #: points of R@1 that may be lost against exact search (--target-recall).
    target_recall: float | None = None
    #: limits on the index file, in megabytes, and on a single search, in milliseconds.
    max_memory_mb: float | None = None
    max_search_ms: float | None = None
    #: board that --max-search-ms is meant for (--target); its times are predicted.
    target: str = ""
    #: no further kind is begun after so many minutes (--time-limit).
    time_limit_min: float | None = None
    #: metres within which a gallery image answers a query (--radius).
    radius_m: float = 25.0
    #: share of the answers called known that must be right, percent (--known-precision).
    known_precision: float = 99.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise UsageError(f"found --dim {self.dim}, expected 1 or more: pass --dim 256")
        if not self.radius_m > 0:
            raise UsageError(
                f"found --radius {self.radius_m:g}, expected metres above 0: pass --radius 25"
            )
        if not 0 < self.known_precision <= 100:
            raise UsageError(
                f"found --known-precision {self.known_precision:g}, expected a percentage above 0 "
                "and at most 100: pass --known-precision 99"
            )
        if self.time_limit_min is not None and not self.time_limit_min > 0:
            raise UsageError(
                f"found --time-limit {self.time_limit_min:g}, expected minutes above 0: leave it "
                "out for no limit"
            )
        if self.target:
            load_target(self.target)
        self.goals  # noqa: B018  checked here, so that a wrong flag costs nothing

    @property
    def goals(self) -> Goals:
        """What the index must keep and may cost."""
        return Goals(
            self.target_agreement, self.target_recall, self.max_memory_mb, self.max_search_ms
        )
