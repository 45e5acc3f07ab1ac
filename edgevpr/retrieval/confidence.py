"""Evidence that the best answer of a search is right, its probability, and their figures.

``edgevpr index`` fits the ``ConfidenceModel`` on held-out images, the runtime applies it; the
evidence must be the same numbers in both, so it is computed here. Margins to the runner-up as
evidence of a match, and recall at 100 % precision: Cummins and Newman, FAB-MAP (IJRR 2008);
Schubert et al., Visual Place Recognition: A Tutorial (RAM 2024).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.records import ConfidenceModel
from edgevpr.places.table import ImageTable
from edgevpr.retrieval.exact import SEARCH_DEPTH

#: Similarity of the best image; how far it is above the best image of another place; how far
#: above the mean of all images of other places that the search found.
EVIDENCE = ("score", "margin", "lead")
_BINS = 10


def evidence(
    scores: NDArray[np.float32], rows: NDArray[np.int64], images: ImageTable, radius_m: float
) -> NDArray[np.float64]:
    """(3,) score, margin and lead (``EVIDENCE``) of one frame's (K,) ranked gallery images.

    Only the first ``SEARCH_DEPTH`` count, so that asking for more answers changes nothing. Where
    every image found shows the best place, the least similar one stands for the others: the true
    margin is larger. Nothing found gives zeros.
    """
    found = rows[:SEARCH_DEPTH] >= 0
    s, r = scores[:SEARCH_DEPTH][found].astype(np.float64), rows[:SEARCH_DEPTH][found]
    if not len(r):
        return np.zeros(len(EVIDENCE))
    others = s[~same_place(images, int(r[0]), r, radius_m)]
    if not len(others):
        others = s[-1:]
    return np.array([s[0], s[0] - others.max(), s[0] - others.mean()])


def same_place(
    images: ImageTable, row: int, rows: NDArray[np.int64], radius_m: float
) -> NDArray[np.bool_]:
    """(K,) which ``rows`` show the place of ``row``: by metres where both have them, else by id."""
    place = int(images.place[row])
    same = (images.place[rows] == place) & (place >= 0)
    east, north = float(images.easting[row]), float(images.northing[row])
    if not math.isnan(east):
        metres = np.hypot(images.easting[rows] - east, images.northing[rows] - north)
        near = (metres <= radius_m) & (images.zone[rows] == images.zone[row])
        same = np.where(np.isnan(metres), same, near)
    return np.asarray(same | (rows == row))


def probability(model: ConfidenceModel, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) evidence -> (...) probability that the best answer is right."""
    return logistic(numbers, np.array(model.weights), model.intercept)


def logistic(
    numbers: NDArray[np.float64], weights: NDArray[np.float64], intercept: float
) -> NDArray[np.float64]:
    """1 / (1 + exp(-(numbers . weights + intercept))), never quite 0 or 1."""
    logit = np.clip(numbers @ weights + intercept, -30.0, 30.0)
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


@dataclass(frozen=True)
class Figures:
    """Figures of a confidence on labelled images, as in ``ConfidenceModel``; shares in percent."""

    r_at_100p: float
    coverage: float
    #: None where no answer was known.
    precision_known: float | None
    false_known: float
    calibration_error: float


def figures(
    confidence: NDArray[np.float64],
    known: NDArray[np.bool_],
    right: NDArray[np.bool_],
    mapped: NDArray[np.bool_],
) -> Figures:
    """Figures of (Q,) answers.

    Args:
        known: which were told as known.
        right: whose best place is right.
        mapped: whose place is in the map; the others cannot be right.

    Without mapped images their shares are 0; no known answer at all has no precision.
    """
    wrong = confidence[~right]
    above = right & (confidence > (wrong.max() if len(wrong) else -1.0))
    return Figures(
        r_at_100p=_percent(above.sum(), mapped.sum()),
        coverage=_percent((known & mapped).sum(), mapped.sum()),
        precision_known=_percent((known & right).sum(), known.sum()) if known.any() else None,
        false_known=_percent((known & ~mapped).sum(), (~mapped).sum()),
        calibration_error=calibration_error(confidence, right),
    )


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error: mean distance of confidence and share right, in ten bins."""
    if not len(confidence):
        return 0.0
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def _percent(part: np.integer, whole: np.integer) -> float:
    return round(100.0 * int(part) / int(whole), 3) if whole else 0.0
