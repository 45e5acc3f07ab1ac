"""Judge of answers: the gallery's confidence model applied to one frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.records import BundleRecord, ConfidenceModel
from edgevpr.errors import UsageError
from edgevpr.places.table import ImageTable
from edgevpr.retrieval.confidence import evidence, probability
from edgevpr.runtime.gallery.gallery import Gallery


@dataclass(frozen=True)
class Judge:
    """Confidence of one frame's answer, and whether it is high enough for a fix."""

    model: ConfidenceModel
    #: least confidence of a known place; at 1 none is.
    threshold: float

    def confidence(
        self, scores: NDArray[np.float32], rows: NDArray[np.int64], images: ImageTable
    ) -> float:
        """Probability that the best of (K,) ranked gallery images shows the frame's place."""
        if not len(rows) or rows[0] < 0:
            return 0.0
        numbers = evidence(scores, rows, images, self.model.radius_m)
        return float(probability(self.model, numbers))

    def known(self, confidence: float) -> bool:
        # Confidences are below 1, and are rounded.
        return self.threshold < 1.0 and confidence >= self.threshold


def judge_for(
    gallery: Gallery,
    bundle: BundleRecord,
    min_confidence: float | None = None,
    *,
    exit: str = FULL,
) -> Judge | None:
    """The judge of a gallery's answers to this bundle; None without a confidence model of it.

    A model fitted for another network does not count: its scores are on another scale.

    Args:
        min_confidence: in place of the model's threshold.
        exit: of the network, where the bundle has some.

    Raises:
        UsageError: ``min_confidence`` is no probability, or there is no confidence to hold it to.
    """
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise UsageError(
            f"found `min_confidence` {min_confidence:g}, expected 0 to 1: pass `min_confidence` 0.9"
        )
    model = gallery.record.confidence
    if exit != FULL:
        at_exit = gallery.exit_record(exit, bundle.model_digest)
        model = None if at_exit is None else at_exit.confidence
    if model is not None and model.model_digest == bundle.model_digest:
        return Judge(model, model.threshold if min_confidence is None else min_confidence)
    if min_confidence is None:
        return None
    found = "no confidence model" if model is None else "the confidence model of another network"
    raise UsageError(
        f"found `min_confidence` {min_confidence:g} with {gallery.artifact.path}, which has "
        f"{found}, expected one of this bundle's network: leave out `min_confidence`, or run "
        "edgevpr index FEATURES --queries QUERIES with held-out images described by that network"
    )


def no_fix_remark(judge: Judge | None, gallery: Path, *, assume_known: bool = False) -> str:
    """Why no answer will be a fix, and what would give some; "" where fixes are to be expected."""
    if judge is None and assume_known:
        return ""
    if judge is None:
        return (
            f"no answer will be a fix: {gallery} has no confidence model of this bundle's "
            "network; run edgevpr index FEATURES --queries QUERIES with held-out images described "
            "by that network, or pass `assume_known` to take every answer as right"
        )
    model = judge.model
    if judge.threshold < 1.0:
        if model.coverage or judge.threshold < model.threshold:
            return ""
        return (
            f"hardly an answer will be a fix: none of the {model.mapped} held-out images of "
            f"{gallery} was known at confidence {model.threshold:.2f}; pass a lower "
            "`min_confidence`, or run edgevpr index with a lower --known-precision"
        )
    if model.threshold < 1.0:
        return (
            f"no answer will be a fix: `min_confidence` is {judge.threshold:g}; leave it out for "
            f"the gallery's own, {model.threshold:.2f}"
        )
    return f"no answer will be a fix: {never_known(model)}"


def never_known(model: ConfidenceModel) -> str:
    """Of a model whose threshold no confidence reaches: why, and what would give known answers."""
    why = (
        f"no confidence was found from which on {model.known_precision:g}% of the held-out "
        "answers are right"
    )
    if not model.reachable_precision:
        return f"{why}, nor for any share; describe the map with a stronger network"
    return (
        f"{why}; `min_confidence` {model.reachable_threshold:.2f} at edgevpr run gives answers of "
        f"which {model.reachable_precision:g}% are right, on {model.reachable_coverage:.1f}% of "
        f"the images, as edgevpr index --known-precision {model.reachable_precision:g} does for "
        "good"
    )
