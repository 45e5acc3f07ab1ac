"""Fit of the confidence of a gallery's answers on held-out images of it.

Every held-out image of a mapped place is a frame twice: searched in the whole map, and searched
with everything within twice the radius of it taken out (where there are no coordinates, its place
id), which is a frame from a place the map does not hold. Images that the map holds nothing of
anyway are frames of that second kind as they are. So about half of the frames are unmapped, and
the confidence is that of a robot that is off its map half of the time: cautious for one that
never leaves it.

A logistic regression gives the probability. Two folds, split by place: each is judged by the fit
and the threshold of the other, and the figures are of those judgements.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.records import ConfidenceModel
from edgevpr.compile.index.faiss_build import one_thread
from edgevpr.optional import require
from edgevpr.places.positives import positives
from edgevpr.places.table import ImageTable
from edgevpr.retrieval.confidence import EVIDENCE, evidence, figures, logistic, same_place
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.retrieval.projection import Projection

#: Held-out images used at most, and right answers needed at least.
MAX_QUERIES = 2000
MIN_RIGHT = 20
#: Threshold that no confidence reaches.
NEVER = 1.0
#: Known answers on which a precision that is recommended was seen, at least.
MIN_KNOWN = 20
#: Precision of known answers that the threshold is chosen for, percent.
KNOWN_PRECISION = 99.0
#: Everything within so many radii is taken out of the map to make a place unmapped.
_CLEARED = 2.0
#: Images searched beyond those taken out, at most: a place with more is left out.
_DEEPEST = 2048
_TEMPERATURES = np.geomspace(0.002, 0.5, 80)


@dataclass(frozen=True)
class LabelledFrames:
    """F frames with their evidence and the truth."""

    evidence: NDArray[np.float64]  #: (F, 3)
    right: NDArray[np.bool_]
    mapped: NDArray[np.bool_]
    group: NDArray[np.int64]  #: frames of one place have one number
    #: as in ``ConfidenceModel``.
    temperature: float = 0.05
    runners_up: float = 0.1


def fit_confidence(
    index: Any,
    parameters: str,
    queries: Features | None,
    projection: Projection | None,
    gallery: ImageTable,
    *,
    radius_m: float = 25.0,
    known_precision: float = KNOWN_PRECISION,
    seed: int = 0,
) -> ConfidenceModel | None:
    """The confidence model of a FAISS index searched with ``parameters``; row i is gallery image i.

    Args:
        queries: features of held-out images, with positions or place ids.
        projection: from their space to the index's.

    Returns:
        None without queries or scikit-learn, or where they have too few right answers, or too
        few wrong ones, to fit.
    """
    if queries is None or find_spec("sklearn") is None:  # a device's own index has none
        return None
    count = min(queries.record.count, MAX_QUERIES)
    chosen = np.random.default_rng(seed).choice(queries.record.count, count, replace=False)
    rows = np.sort(chosen).astype(np.int64)
    vectors = np.asarray(queries.descriptors[rows], np.float32)
    found = fit_vectors(
        index,
        parameters,
        vectors if projection is None else projection.apply(vectors),
        queries.table.take(rows),
        gallery,
        radius_m=radius_m,
        known_precision=known_precision,
        model_digest=queries.record.model_digest,
    )
    return found and msgspec.structs.replace(found, exit=queries.record.exit)


def fit_vectors(
    index: Any,
    parameters: str,
    vectors: NDArray[np.float32],
    table: ImageTable,
    gallery: ImageTable,
    *,
    radius_m: float = 25.0,
    known_precision: float = KNOWN_PRECISION,
    model_digest: str = "",
) -> ConfidenceModel | None:
    """``fit_confidence`` on (Q, d) descriptors in the index's space of the images of ``table``."""
    import faiss

    space: Any = faiss.ParameterSpace()
    with one_thread():
        space.set_index_parameters(index, parameters)
        frames = _labelled_frames(index, vectors, table, gallery, radius_m)
    return fit_frames(
        frames, radius_m=radius_m, known_precision=known_precision, model_digest=model_digest
    )


def fit_frames(
    frames: LabelledFrames,
    *,
    radius_m: float,
    known_precision: float,
    model_digest: str,
) -> ConfidenceModel | None:
    """Fit on all frames; threshold and figures from each fold judged by the other's fit."""
    groups = len(np.unique(frames.group))
    if frames.right.sum() < MIN_RIGHT or (~frames.right).sum() < MIN_RIGHT or groups < 2:
        return None
    selection = require("sklearn.model_selection", extra="compile")
    confidence = np.zeros(len(frames.right))
    folds = list(selection.GroupKFold(2).split(frames.evidence, groups=frames.group))
    if any(len(np.unique(frames.right[half])) < 2 for fold in folds for half in fold):
        return None
    for fit, judged in folds:
        weights, intercept = _logistic(frames.evidence[fit], frames.right[fit])
        confidence[judged] = logistic(frames.evidence[judged], weights, intercept)
    known = np.zeros(len(confidence), bool)
    for other, judged in folds:
        at = threshold_for(confidence[other], frames.right[other], known_precision)
        known[judged] = confidence[judged] >= at
    judged_figures = figures(confidence, known, frames.right, frames.mapped)
    weights, intercept = _logistic(frames.evidence, frames.right)
    threshold = threshold_for(confidence, frames.right, known_precision)
    within_reach = (0.0, 0.0, 0.0)
    if threshold == NEVER:
        within_reach = _within_reach(confidence, frames, known_precision)
    return ConfidenceModel(
        method="logistic",
        weights=[round(float(w), 6) for w in weights],
        intercept=round(float(intercept), 6),
        threshold=_rounded(threshold),
        known_precision=known_precision,
        radius_m=radius_m,
        temperature=round(frames.temperature, 6),
        runners_up=round(frames.runners_up, 6),
        model_digest=model_digest,
        mapped=int(frames.mapped.sum()),
        unmapped=int((~frames.mapped).sum()),
        r_at_100p=judged_figures.r_at_100p,
        coverage=judged_figures.coverage,
        precision_known=judged_figures.precision_known,
        false_known=judged_figures.false_known,
        calibration_error=round(judged_figures.calibration_error, 4),
        provenance="measured",
        reachable_precision=within_reach[0],
        reachable_threshold=within_reach[1],
        reachable_coverage=within_reach[2],
    )


def _within_reach(
    confidence: NDArray[np.float64], frames: LabelledFrames, precision: float
) -> tuple[float, float, float]:
    """Percent of right answers below ``precision`` that a threshold reaches with ``MIN_KNOWN``
    answers, that threshold, and the percent of mapped images above it; zeros where none does."""
    for percent in range(int(np.ceil(precision)) - 1, 0, -1):
        at = threshold_for(confidence, frames.right, percent)
        above = confidence >= at
        if at < NEVER and above.sum() >= MIN_KNOWN:
            share = 100.0 * (above & frames.mapped).sum() / max(frames.mapped.sum(), 1)
            return float(percent), _rounded(at), round(float(share), 3)
    return 0.0, 0.0, 0.0


def _rounded(threshold: float) -> float:
    """To six places, downwards, so that the confidence it was taken from reaches it."""
    return float(np.floor(threshold * 1e6) / 1e6)


def threshold_for(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], precision: float
) -> float:
    """The lowest confidence from which on at least ``precision`` percent are right.

    By count, and by the mean of the confidences to a tenth of a percent. The count alone flatters:
    among many thresholds it takes the one with the luckiest frames above it.

    NEVER where no such confidence is seen.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    seen = np.arange(1, len(order) + 1)
    share = 100.0 * np.cumsum(right[order]) / seen
    told = np.round(100.0 * np.cumsum(ranked) / seen, 1)
    # among equal confidences only the last: all of them pass or none
    ends = np.append(ranked[1:] < ranked[:-1], True)
    reached = np.flatnonzero((share >= precision) & (told >= precision) & ends)
    return float(ranked[reached[-1]]) if len(reached) else NEVER


def _labelled_frames(
    index: Any,
    vectors: NDArray[np.float32],
    table: ImageTable,
    gallery: ImageTable,
    radius_m: float,
) -> LabelledFrames:
    good = positives(table, gallery, radius_m)
    cleared = positives(table, gallery, _CLEARED * radius_m)
    scores, rows = index.search(vectors, min(SEARCH_DEPTH, len(gallery)))
    depth = min(SEARCH_DEPTH + max(map(len, cleared), default=0), len(gallery), _DEEPEST)
    deep_scores, deep_rows = index.search(vectors, depth)
    numbers: list[NDArray[np.float64]] = []
    right, mapped, group, later = [], [], [], 0
    rivals: list[tuple[NDArray[np.float64], NDArray[np.bool_]]] = []
    labels = _groups(table, radius_m)
    for i in np.flatnonzero(labels >= 0):
        if rows[i, 0] < 0:
            continue
        hit = np.isin(rows[i], good[i])
        numbers.append(evidence(scores[i], rows[i], gallery, radius_m))
        right.append(bool(hit[0]))
        later += bool(hit.any() and not hit[0])
        mapped.append(bool(len(good[i])))
        group.append(labels[i])
        if not len(good[i]):
            continue
        if hit.any():
            rivals.append(_best_of_each(scores[i], rows[i], hit, gallery, radius_m))
        left = (deep_rows[i] >= 0) & ~np.isin(deep_rows[i], cleared[i])
        if left.sum() < min(SEARCH_DEPTH, len(gallery) - len(cleared[i])) or not left.any():
            continue
        numbers.append(evidence(deep_scores[i][left], deep_rows[i][left], gallery, radius_m))
        right.append(False)
        mapped.append(False)
        group.append(labels[i])
    return LabelledFrames(
        np.array(numbers).reshape(-1, len(EVIDENCE)),
        np.array(right, bool),
        np.array(mapped, bool),
        np.array(group, np.int64),
        _temperature(rivals),
        later / max(right.count(False), 1),
    )


def _groups(table: ImageTable, radius_m: float) -> NDArray[np.int64]:
    """(Q,) a number for the surroundings of each image, by position or place id; -1: neither."""
    groups = np.full(len(table), -1, np.int64)
    side = 4 * radius_m
    keys: dict[tuple[float, ...], int] = {}
    for i in range(len(table)):
        if table.located[i]:
            key: tuple[float, ...] = (table.easting[i] // side, table.northing[i] // side)
        elif table.place[i] >= 0:
            key = (float(table.place[i]),)
        else:
            continue
        groups[i] = keys.setdefault(key, len(keys))
    return groups


def _best_of_each(
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
    hit: NDArray[np.bool_],
    gallery: ImageTable,
    radius_m: float,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The best score of each place found, and whether that place is right."""
    left = rows >= 0
    best, good = [], []
    while left.any():
        first = int(np.argmax(left))
        best.append(float(scores[first]))
        good.append(bool(hit[first]))
        left &= ~same_place(gallery, int(rows[first]), rows, radius_m)
    return np.array(best), np.array(good)


def _temperature(rivals: list[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> float:
    """Most likely temperature of a softmax over the places found together, one of them right."""
    if not rivals:
        return 0.05
    loss = np.zeros(len(_TEMPERATURES))
    for scores, good in rivals:
        odds = np.exp((scores - scores[0])[None] / _TEMPERATURES[:, None])
        loss -= np.log(odds[:, good].sum(axis=1) / odds.sum(axis=1) + 1e-300)
    return float(_TEMPERATURES[np.argmin(loss)])


def _logistic(
    numbers: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """Weights of 0 or more, so that stronger evidence never lowers the confidence."""
    linear = require("sklearn.linear_model", extra="compile")
    mean, spread = numbers.mean(axis=0), numbers.std(axis=0) + 1e-9
    scaled = (numbers - mean) / spread
    kept = np.flatnonzero(numbers.std(axis=0) > 1e-9)
    weights = np.zeros(numbers.shape[1])
    intercept = float(np.log(right.mean() / (1 - right.mean())))
    while len(kept):
        model = linear.LogisticRegression(C=10.0, max_iter=1000).fit(scaled[:, kept], right)
        found = model.coef_[0]
        if (found >= 0).all():
            weights[kept] = found / spread[kept]
            intercept = float(model.intercept_[0])
            break
        kept = np.delete(kept, int(np.argmin(found)))
    return weights, intercept - float(weights @ mean)
