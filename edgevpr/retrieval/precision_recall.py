"""Precision-recall curve of best matches, its area, and the recall at 100 % precision.

A query is answered where the score of its best match reaches a threshold, and rejected below.
Over all thresholds, that is one at each score that occurs:

- TP(t) and FP(t) are the answered queries whose best match is right, and is not; a query without
  any positive, once answered, is a false positive.
- precision(t) = TP / (TP + FP); recall(t) = TP / GTP, where GTP counts the queries with a positive.
- The curve starts at recall 0 and precision 1, where every query is rejected.

This is the single-best-match curve of Schubert, Neubert, Garg, Milford and Fischer, Visual Place
Recognition: A Tutorial (IEEE RAM 2024), and of ``evaluation/metrics.py`` of its authors, which
samples 100 equally spaced thresholds in place of every score. VPR-Bench (Zaffar et al., IJCV 2021)
takes recall over the queries whose best match is right, not over those with a positive, so its area
is larger (``auc_pr_of_correct``).
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError
from edgevpr.retrieval.recall import hits


@dataclass(frozen=True)
class PrecisionRecall:
    """Figures of a curve.

    ``r_at_100p``: the largest recall at precision 1, percent; ``auc_pr``: area under precision over
    recall by trapezoids, 0 to 1, at most the share of queries with a positive that are answered
    right; ``auc_pr_of_correct``: the same with recall over the right answers, as VPR-Bench has it.
    """

    r_at_100p: float
    auc_pr: float
    auc_pr_of_correct: float


@dataclass(frozen=True)
class Curve:
    """Points of a precision-recall curve in falling order of the threshold.

    Precision and recall from 0 to 1; queries that score ``threshold`` or more are answered. The
    first point rejects all: its threshold is None.
    """

    threshold: tuple[float | None, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]

    def figures(self) -> PrecisionRecall:
        precision, recall = np.array(self.precision), np.array(self.recall)
        area = float(np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) / 2))
        return PrecisionRecall(
            r_at_100p=100.0 * float(recall[precision == 1].max()),
            auc_pr=area,
            auc_pr_of_correct=area / self.recall[-1] if self.recall[-1] else 0.0,
        )

    def to_csv(self) -> str:
        """A line a point: ``threshold,precision,recall``; the first threshold is empty."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["threshold", "precision", "recall"])
        for point in zip(self.threshold, self.precision, self.recall, strict=True):
            writer.writerow(["" if value is None else f"{value:.9g}" for value in point])
        return text.getvalue()


def precision_recall_curve(
    scores: NDArray[np.floating],
    predictions: NDArray[np.integer],
    positives: Sequence[NDArray[np.integer]],
) -> Curve:
    """The curve of (Q, K) ranked gallery rows; only the best, ``predictions[:, 0]``, counts.

    Queries of equal score are answered together, whatever their order.

    Args:
        scores: (Q, K) similarities, larger is better; none is nan.
        predictions: (Q, K) gallery rows, best first; one of -1 is "nothing found", never answered.
        positives: for each query, the gallery rows that answer it.

    Raises:
        DataError: no query has a positive, or a score is nan.
    """
    answerable = sum(len(good) > 0 for good in positives)
    if not answerable:
        raise DataError(
            f"found no positive for any of {len(positives)} queries, expected queries and gallery "
            "of one map: check the folders and the radius"
        )
    right = hits(predictions[:, :1], positives)[:, 0]
    found = predictions[:, 0] >= 0
    best, right = np.asarray(scores, np.float64)[found, 0], right[found]
    if np.isnan(best).any():
        raise DataError(
            f"found {int(np.isnan(best).sum())} scores of best matches that are no numbers, "
            "expected similarities: check the descriptors"
        )
    order = np.argsort(-best, kind="stable")
    best = best[order]
    last = np.append(best[1:] != best[:-1], True) if len(best) else np.zeros(0, bool)
    tp, answered = np.cumsum(right[order])[last], np.flatnonzero(last) + 1
    return Curve(
        threshold=(None, *best[last].tolist()),
        precision=(1.0, *(tp / answered).tolist()),
        recall=(0.0, *(tp / answerable).tolist()),
    )
