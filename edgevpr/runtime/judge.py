"""Judge of answers: the gallery's confidence model applied to one frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.records import BundleRecord, ConfidenceModel
from edgevpr.errors import UsageError
from edgevpr.places.table import ImageTable
from edgevpr.retrieval.confidence import evidence, probability
from edgevpr.runtime.gallery.gallery import Gallery


@dataclass(frozen=True)
class Judge:
    """Confidence of one frame's answer, and whether it is high enough for a fix."""

    model: ConfidenceModel
    #: least confidence of a known place.
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
        return confidence >= self.threshold


def judge_for(
    gallery: Gallery, bundle: BundleRecord, min_confidence: float | None = None
) -> Judge | None:
    """The judge of a gallery's answers to this bundle; None without a confidence model of it.

    A model fitted for another network does not count: its scores are on another scale.

    Args:
        min_confidence: in place of the model's threshold.

    Raises:
        UsageError: ``min_confidence`` is no probability, or there is no confidence to hold it to.
    """
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise UsageError(
            f"found `min_confidence` {min_confidence:g}, expected 0 to 1: pass `min_confidence` 0.9"
        )
    model = gallery.record.confidence
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
