"""Neighbours within a radius, found on a grid in numpy alone."""

import numpy as np
from numpy.typing import NDArray

#: Added to the radius, metres: two images exactly 25 m apart stay positives after rounding.
SLACK_M = 1e-6
#: Candidate pairs compared at a time, which bounds the memory (about 0.2 GB).
PAIRS = 1 << 22


def within(
    queries: NDArray[np.float64], gallery: NDArray[np.float64], radius: float
) -> list[NDArray[np.int64]]:
    """Rows of (N, 2) ``gallery`` within ``radius`` of each row of (Q, 2) ``queries``."""
    if not len(queries) or not len(gallery):
        return [np.empty(0, np.int64)] * len(queries)
    radius += SLACK_M
    low = np.minimum(queries.min(0), gallery.min(0))
    span = float((np.maximum(queries.max(0), gallery.max(0)) - low).max())
    # no smaller than this, so that a cell's number fits 64 bits whatever the coordinates
    side = max(radius, 1.0, span / 1e9)
    cell = np.floor((gallery - low) / side).astype(np.int64) + 1
    stride = int(span / side) + 4
    keys = cell[:, 0] * stride + cell[:, 1]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    q_cell = np.floor((queries - low) / side).astype(np.int64) + 1
    # Three neighbouring cells of one column are consecutive keys: three ranges a query.
    columns = [(q_cell[:, 0] + shift) * stride + q_cell[:, 1] for shift in (-1, 0, 1)]
    starts = np.stack([np.searchsorted(keys, c - 1, "left") for c in columns], axis=1)
    counts = np.stack([np.searchsorted(keys, c + 1, "right") for c in columns], axis=1) - starts
    result: list[NDArray[np.int64]] = []
    first = 0
    total = np.cumsum(counts.sum(axis=1))
    while first < len(queries):
        done = int(total[first - 1]) if first else 0
        last = max(int(np.searchsorted(total, done + PAIRS, "right")), first + 1)
        n = counts[first:last].reshape(-1)
        owner = np.repeat(np.arange(first, last), counts[first:last].sum(axis=1))
        offset = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        rows = order[np.repeat(starts[first:last].reshape(-1), n) + offset]
        delta = queries[owner] - gallery[rows]
        keep = (delta * delta).sum(axis=1) <= radius * radius
        cuts = np.searchsorted(owner[keep], np.arange(first + 1, last))
        result += np.split(rows[keep], cuts)
        first = last
    return result
