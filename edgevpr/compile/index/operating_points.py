"""Measuring an index's operating points against exact search in the full descriptor space."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.records import OperatingPoint
from edgevpr.compile.index.faiss_build import one_thread
from edgevpr.errors import DataError
from edgevpr.progress import Track, silent
from edgevpr.retrieval.exact import SEARCH_DEPTH, exact_search
from edgevpr.retrieval.recall import recall_at

#: Two settings this close are equally fast beside any engine: the better answer decides.
EQUALLY_FAST_MS = 0.02
#: Searches timed at each setting.
_TIMED = 200
#: Queries searched exactly at a time.
_BLOCK = 125
#: FAISS parameters that are tuned, where the index has them, with the values tried.
_GRID: dict[str, list[int]] = {
    "nprobe": [2**i for i in range(13)],
    "k_factor_rf": [1, 2, 4, 8, 16],
    "efSearch": [16, 32, 64, 128, 256, 512],
}


@dataclass(frozen=True)
class HeldOut:
    """Q queries and the answers of exact search in the full space (D)."""

    #: (Q, D) L2-normalized.
    descriptors: NDArray[np.float32]
    #: for each query its own gallery row, which does not count as an answer; None: not in it.
    own: NDArray[np.int64] | None
    #: for each query, the gallery rows that show its place; None: not known.
    positives: Sequence[NDArray[np.int64]] | None
    #: (Q, K) rows of exact search, best first, and (Q,) the best similarity.
    exact_rows: NDArray[np.integer]
    best: NDArray[np.float32]


@dataclass(frozen=True)
class Quality:
    """Percent; R@K is None where no query has a positive."""

    agreement: float
    r1: float | None
    r5: float | None
    without_positives: int = 0


def hold_out(
    descriptors: NDArray[np.float32],
    gallery: NDArray[np.floating],
    *,
    own: NDArray[np.int64] | None = None,
    positives: Sequence[NDArray[np.int64]] | None = None,
    rows: NDArray[np.integer] | None = None,
    track: Track = silent,
) -> HeldOut:
    """Search (Q, D) descriptors exactly in the (N, D) gallery and keep the answers.

    Args:
        rows: what ``nearest`` found, where that is known already.
    """
    if rows is None:
        rows = nearest(descriptors, gallery, own, track=track)
    return HeldOut(
        descriptors=descriptors,
        own=own,
        positives=positives,
        exact_rows=rows,
        best=_similarity(descriptors, gallery, rows[:, 0]),
    )


def nearest(
    queries: NDArray[np.float32],
    gallery: NDArray[np.floating],
    own: NDArray[np.int64] | None,
    *,
    track: Track = silent,
) -> NDArray[np.integer]:
    """(Q, K) gallery rows by exact search, best first, each query's own row left out."""
    chunk = max((1 << 26) // gallery.shape[1], 1024)  # 256 MB of float32
    depth = SEARCH_DEPTH + (own is not None)
    starts = range(0, len(queries), _BLOCK)
    blocks = [
        exact_search(queries[start : start + _BLOCK], gallery, depth, chunk=chunk)[1]
        for start in track(starts, "exact search for reference", len(starts))
    ]
    return without_own(np.vstack(blocks), own)


def without_own(rows: NDArray[np.integer], own: NDArray[np.int64] | None) -> NDArray[np.integer]:
    """(Q, K) ranked rows -> (Q, K - 1) with each query's own row taken out (or else the last)."""
    if own is None or rows.shape[1] < 2:
        return rows
    order = np.argsort(rows == own[:, None], axis=1, kind="stable")
    return np.take_along_axis(rows, order[:, :-1], axis=1)


def judge(ranked: NDArray[np.integer], held: HeldOut, gallery: NDArray[np.floating]) -> Quality:
    """Compare (Q, K) rows, best first, with the exact answers and the positives, if any.

    A row that is exactly as similar as the exact first one (a frame stored twice) agrees.
    """
    first = ranked[:, 0]
    similarity = _similarity(held.descriptors, gallery, np.maximum(first, 0))
    agreement = 100.0 * float(((similarity >= held.best - 1e-6) & (first >= 0)).mean())
    if held.positives is None:
        return Quality(agreement, None, None)
    try:
        recall = recall_at(ranked, held.positives, database=len(gallery), ks=(1, 5))
    except DataError:
        return Quality(agreement, None, None, without_positives=len(ranked))
    return Quality(
        agreement, recall.at[1], recall.at.get(5, recall.at[1]), recall.without_positives
    )


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
            p50, p95 = np.percentile(_times_ms(index, queries, depth), [50, 95])
            points.append(
                OperatingPoint(
                    parameters=parameters,
                    exact_agreement=quality.agreement,
                    r1=quality.r1,
                    r5=quality.r5,
                    search_ms_p50=round(float(p50), 4),
                    search_ms_p95=round(float(p95), 4),
                    factory=factory,
                    index_dim=int(index.d),
                    index_mb=index_mb,
                )
            )
    return points


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


def _times_ms(index: Any, queries: NDArray[np.float32], depth: int) -> NDArray[np.float64]:
    """Milliseconds of ``_TIMED`` single searches, after a few to warm up."""
    singles = [queries[i % len(queries)][None] for i in range(_TIMED)]
    for query in singles[:10]:
        index.search(query, depth)
    times = np.empty(_TIMED)
    for i, query in enumerate(singles):
        started = time.perf_counter()
        index.search(query, depth)
        times[i] = time.perf_counter() - started
    return times * 1e3


def _similarity(
    queries: NDArray[np.float32], gallery: NDArray[np.floating], rows: NDArray[np.integer]
) -> NDArray[np.float32]:
    """(Q,) inner product of each query with the gallery row named for it."""
    picked = np.asarray(gallery[rows], np.float32)
    return np.asarray(np.einsum("qd,qd->q", queries, picked), np.float32)
