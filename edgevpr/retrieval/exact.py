"""Exact search by inner product: the reference every index is measured against."""

import numpy as np
from numpy.typing import NDArray

from edgevpr.files import release

#: Images asked of an index for one frame, when it is tuned and when it runs (FAISS multiplies it
#: by k_factor_rf): enough for five places after several images of one place are merged.
SEARCH_DEPTH = 20

#: Queries scored at a time; with ``chunk`` gallery rows that is 16 MB of similarities.
QUERIES = 256


def exact_search(
    queries: NDArray[np.floating],
    gallery: NDArray[np.floating],
    k: int,
    *,
    chunk: int = 16384,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k gallery rows with the largest inner product, best first; ties go to the lower row.

    A tie is two equal float32 similarities. A similarity that is NaN ranks behind every number.

    Args:
        queries: (Q, D) L2-normalized descriptors.
        gallery: (N, D) L2-normalized descriptors, float16 memory maps welcome: of those a chunk
            at a time is in memory.
        k: at most N; a larger one gives N columns.
        chunk: gallery rows converted to float32 at a time, which bounds the memory.

    Returns:
        (Q, k) float32 similarities and (Q, k) int64 rows.
    """
    k = max(min(k, len(gallery)), 0)
    queries = np.asarray(queries, np.float32)
    scores = np.full((len(queries), 0), 0, np.float32)
    rows = np.full((len(queries), 0), 0, np.int64)
    for start in range(0, len(gallery) if k else 0, chunk):
        block = np.asarray(gallery[start : start + chunk], np.float32)
        width = min(k, scores.shape[1] + len(block))
        merged = np.empty((len(queries), width), np.float32), np.empty((len(queries), width), int)
        for first in range(0, len(queries), QUERIES):
            some = slice(first, first + QUERIES)
            near = np.hstack([scores[some], queries[some] @ block.T])
            best = _best(near, width)
            ids = np.arange(start, start + len(block))
            both = np.hstack([rows[some], np.broadcast_to(ids, (len(near), len(block)))])
            merged[0][some] = np.take_along_axis(near, best, axis=1)
            merged[1][some] = np.take_along_axis(both, best, axis=1)
        scores, rows = merged
        release(gallery)
    return scores, rows


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(Q, k) columns of the k largest of (Q, N) scores, best first, ties to the lower column."""
    if k >= scores.shape[1]:
        return np.argsort(-scores, axis=1, kind="stable")
    # Partitioning is several times faster than sorting, but picks freely among equal scores:
    # rows where a tie straddles the k-th place are sorted after all.
    columns = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    chosen = np.take_along_axis(scores, columns, axis=1)
    columns = np.take_along_axis(columns, np.argsort(-chosen, axis=1, kind="stable"), axis=1)
    # the comparison is also false, as it must be, where the k-th score is NaN
    clear = (scores >= chosen.min(axis=1, keepdims=True)).sum(axis=1) == k
    if not clear.all():
        columns[~clear] = np.argsort(-scores[~clear], axis=1, kind="stable")[:, :k]
    return columns
