"""Record of a search for a precision, kept in the bundle's evidence."""

import math

import msgspec

from edgevpr.compile.precision.choices import Precision


class GroupError(msgspec.Struct, frozen=True):
    """Error and gain of one group alone."""

    name: str
    kind: str
    layers: int
    #: multiply-adds of one image, in millions.
    mmacs: float
    #: 1 - mean cosine of descriptors to FP32's, this group alone in INT8; in FP16.
    int8_error: float
    fp16_error: float | None
    #: milliseconds that INT8 saves in this group alone; negative: it costs.
    saved_ms: float
    #: its precision after the search.
    precision: str = ""


class AssignmentResult(msgspec.Struct, frozen=True):
    """Recall, error, latency and size of one assignment."""

    name: str
    int8: list[str]
    fp32: list[str]
    #: R@1 in percent, and points below FP32's.
    r1: float
    drop: float
    descriptor_error: float
    latency_ms: float
    base_ms: float
    megabytes: float
    verdict: str = ""
    #: tuning images that FP32 answers rightly and this does not, and the other way round.
    lost: int = 0
    gained: int = 0

    def resolution(self, images: int) -> float:
        """Standard error of ``drop`` in points, of as many Bernoulli trials as answers changed."""
        return 100.0 * math.sqrt(self.lost + self.gained) / images


class Decision(msgspec.Struct, frozen=True):
    """The search as it stands in the bundle's evidence."""

    precision: Precision
    chosen: str
    reason: str
    max_recall_drop: float
    fp32_r1: float
    tuning: str
    tuning_images: int
    provenance: str
    basis: str
    groups: list[GroupError]
    candidates: list[AssignmentResult]
    seconds: float
    remarks: list[str]
