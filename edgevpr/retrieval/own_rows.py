"""Queries that are gallery images themselves: their own rows, and answers without these.

An image of the map that stands in for a query would find itself first, whatever the index loses.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.places.table import ImageTable

#: Two images of one file name are the same image if they were taken this near, metres.
_SAME_M = 1.0


def own_rows(queries: ImageTable, gallery: ImageTable) -> NDArray[np.int64]:
    """(Q,) the gallery row of each query that is the very same image, else -1.

    The same image has the same path, or the same file name within a metre.
    """
    by_name: dict[str, list[int]] = {}
    for row, path in enumerate(gallery.paths):
        by_name.setdefault(Path(path).name, []).append(row)
    rows = np.full(len(queries), -1, np.int64)
    query_xy, gallery_xy = queries.xy, gallery.xy
    for i, path in enumerate(queries.paths):
        for row in by_name.get(Path(path).name, []):
            apart = np.hypot(*(query_xy[i] - gallery_xy[row]))
            if gallery.paths[row] == path or apart < _SAME_M:
                rows[i] = row
                break
    return rows


def without_own(ranked: NDArray[np.integer], own: NDArray[np.int64] | None) -> NDArray[np.integer]:
    """(Q, K) ranked rows -> (Q, K - 1) with each query's own row taken out (or else the last).

    Args:
        own: (Q,) rows, -1 for a query that is not in the gallery; None: none is, and all K stay.
    """
    if own is None or ranked.shape[1] < 2:
        return ranked
    order = np.argsort(ranked == own[:, None], axis=1, kind="stable")
    return np.take_along_axis(ranked, order[:, :-1], axis=1)


def positives_without_own(
    positives: Sequence[NDArray[np.int64]], own: NDArray[np.int64] | None
) -> list[NDArray[np.int64]]:
    """The positives of Q queries, less each query's own row."""
    if own is None:
        return list(positives)
    return [found[found != row] for found, row in zip(positives, own, strict=True)]
