"""Recall@K.

R@K is the share of queries with at least one positive among the K nearest gallery images. Queries
without any positive in the gallery can never be answered. Over all queries they count as misses, as
in the code of the peers (Deep Visual Geo-localization Benchmark and VPR-methods-evaluation, Berton
et al., CVPR 2022; MixVPR, SALAD, BoQ and OpenVPRLab); over the answerable queries
(``queries - without_positives``) they are left out, as in Schubert et al., Visual Place
Recognition: A Tutorial (IEEE RAM 2024). Both are given; without such queries they are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError


@dataclass(frozen=True)
class Recall:
    """R@K in percent for each K, and what it was measured on.

    ``at`` is over the answerable queries, ``of_all`` over all of them.
    """

    at: dict[int, float]
    of_all: dict[int, float]
    database: int
    queries: int
    without_positives: int

    def line(self) -> str:
        """The field's usual line, of the answerable queries: ``R@1: 98.8, R@5: 99.7``."""
        return _line(self.at)

    def lines(self) -> list[str]:
        """The line with what it is over: all queries, then the answerable ones if they are fewer.

        ``all 740 queries: R@1: 98.8, R@5: 99.7``
        """
        number = f"{self.queries:,}"
        if not self.without_positives:
            return [f"all {number} queries, each answerable: {_line(self.of_all)}"]
        return [
            f"all {number} queries: {_line(self.of_all)}",
            f"{self.queries - self.without_positives:,} answerable queries: {_line(self.at)}",
        ]


def _line(shares: dict[int, float]) -> str:
    return ", ".join(f"R@{k}: {value:.1f}" for k, value in shares.items())


def hits(
    predictions: NDArray[np.integer], positives: Sequence[NDArray[np.integer]]
) -> NDArray[np.bool_]:
    """(Q, K) predicted gallery rows, Q arrays of positive rows -> (Q, K) which are positives."""
    if len(predictions) != len(positives):
        raise ValueError(f"{len(predictions)} predictions for {len(positives)} queries")
    return np.array(
        [np.isin(row, good) for row, good in zip(predictions, positives, strict=True)], dtype=bool
    ).reshape(predictions.shape)


def recall_at(
    predictions: NDArray[np.integer],
    positives: Sequence[NDArray[np.integer]],
    *,
    database: int,
    ks: Sequence[int] = (1, 5, 10, 20),
) -> Recall:
    """Recall@K of (Q, K_max) ranked gallery rows; rows of -1 are "nothing found".

    Args:
        predictions: (Q, K_max) gallery rows, best first.
        positives: for each query, the gallery rows that answer it.
        database: number of gallery images, for the report.
        ks: the values of K; those above ``database`` or above K_max are left out, because R@K_max
            must not be reported under another name.

    Raises:
        DataError: no query has a positive.
    """
    answerable = np.array([len(good) > 0 for good in positives], dtype=bool)
    if not answerable.any():
        raise DataError(
            f"found no positive for any of {len(positives)} queries among {database} gallery "
            "images, expected queries and gallery of one map: check the folders and the radius"
        )
    found = hits(predictions, positives)[answerable]
    ks = [k for k in ks if k <= min(database, found.shape[1])] or [1]
    right = {k: int(found[:, :k].any(axis=1).sum()) for k in ks}
    return Recall(
        at={k: 100.0 * count / len(found) for k, count in right.items()},
        of_all={k: 100.0 * count / len(positives) for k, count in right.items()},
        database=database,
        queries=len(positives),
        without_positives=int((~answerable).sum()),
    )
