"""Measurement of an index's operating points against exact search in the full descriptor space."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.records import OperatingPoint
from edgevpr.compile.index.faiss_build import one_thread
from edgevpr.compile.index.held_out import HeldOut, judge
from edgevpr.progress import Track, silent
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.retrieval.own_rows import without_own
from edgevpr.timing import percentiles, time_turns

#: Searches timed at each setting.
_TIMED = 200
#: FAISS parameters that are tuned, where the index has them, with the values tried.
_GRID: dict[str, list[int]] = {
    "nprobe": [2**i for i in range(13)],
    "k_factor_rf": [1, 2, 4, 8, 16],
    "efSearch": [16, 32, 64, 128, 256, 512],
}


def measure(
    index: Any,
    queries: NDArray[np.float32],
    held: HeldOut,
    gallery: NDArray[np.floating],
    *,
    factory: str = "",
    index_mb: float | None = None,
    track: Track = silent,
) -> list[OperatingPoint]:
    """Every setting of the grid on a FAISS index: agreement, recall, time of one search.

    Args:
        index: searched with (Q, d) ``queries``, the held-out ones in the index's own space.
        gallery: (N, D) in the full space, to judge the answers.
        factory, index_mb: what the index is, for the points.

    Times are of single queries on one thread of this machine, in milliseconds.
    """
    import faiss

    space: Any = faiss.ParameterSpace()
    depth = min(SEARCH_DEPTH + (held.own is not None), index.ntotal)
    points = []
    with one_thread():
        for parameters in track(_settings(index), "measuring operating points"):
            space.set_index_parameters(index, parameters)
            _, rows = index.search(queries, depth)
            quality = judge(without_own(rows, held.own), held, gallery)
            p50, p95 = percentiles(_times_ms(index, queries, depth), 50, 95)
            points.append(
                OperatingPoint(
                    parameters=parameters,
                    exact_agreement=quality.agreement,
                    r1=quality.r1,
                    r5=quality.r5,
                    search_ms_p50=p50,
                    search_ms_p95=p95,
                    factory=factory,
                    index_dim=int(index.d),
                    index_mb=index_mb,
                )
            )
    return points


def _settings(index: Any) -> list[str]:
    """FAISS parameter strings to try on ``index``; one empty string when it has no parameters."""
    import faiss

    space = faiss.ParameterSpace()
    space.initialize(index)
    ranges = [space.parameter_ranges.at(i) for i in range(space.parameter_ranges.size())]
    names = [r.name for r in ranges if r.name in _GRID]
    values = [_GRID[name] for name in names]
    if "nprobe" in names:
        lists = faiss.extract_index_ivf(index).nlist
        values[names.index("nprobe")] = [*(n for n in _GRID["nprobe"] if n < lists), lists]
    # nprobe before k_factor_rf, so that of two equal answers the one with fewer probes is first.
    order = sorted(range(len(names)), key=lambda i: list(_GRID).index(names[i]))
    grid = itertools.product(*(values[i] for i in order))
    return [",".join(f"{names[i]}={v}" for i, v in zip(order, row, strict=True)) for row in grid]


def _times_ms(index: Any, queries: NDArray[np.float32], depth: int) -> list[float]:
    """Milliseconds of ``_TIMED`` single searches."""
    calls = {"search": lambda i: index.search(queries[i % len(queries)][None], depth)}
    return time_turns(calls, rounds=_TIMED)["search"]
