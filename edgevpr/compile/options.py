"""Options of a compilation, and the precision they resolve to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgevpr.compile.precision.typed import Method
from edgevpr.device.targets import Target
from edgevpr.errors import UsageError


@dataclass(frozen=True)
class CompileOptions:
    """What ``edgevpr compile`` is told beside the model and where to write."""

    target: str
    precision: str | None = None
    #: gallery artifact whose projection is fused, and in which "auto" measures recall.
    gallery: Path | None = None
    #: folder of images; None: the gallery's own, if they are where its records say. Without any,
    #: parity is measured on synthetic noise.
    calibration: Path | None = None
    #: images to calibrate with.
    count: int = 128
    calibrator: Method | None = None
    #: folder of images with places that "auto" measures recall on; None: of ``calibration``.
    tuning: Path | None = None
    max_recall_drop: float = 0.5
    auto_minutes: float = 10.0
    radius_m: float = 25.0
    seed: int = 0
    #: keep and use what earlier compilations made.
    cache: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.max_recall_drop <= 100:
            raise UsageError(
                f"found --max-recall-drop {self.max_recall_drop:g}, expected points of R@1 between "
                "0 and 100: pass --max-recall-drop 0.5"
            )
        if not self.auto_minutes > 0:
            raise UsageError(
                f"found --auto-minutes {self.auto_minutes:g}, expected minutes above 0: pass "
                "--auto-minutes 10"
            )
        if self.calibrator not in (None, "entropy", "max", "percentile"):
            raise UsageError(
                f"found --calibrator {self.calibrator}, expected entropy, max or percentile: "
                "choose one of those, or leave it out"
            )


Precision = Literal["fp32", "fp16", "int8"]


#: Or found by search, see ``edgevpr.compile.auto``.
Asked = Literal["fp32", "fp16", "int8", "auto"]


PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


#: What a target's engine can compute in, its default first.
OFFERED: dict[str, tuple[Precision, ...]] = {
    "onnxruntime": ("fp32", "int8"),
    "tensorrt": ("fp16", "int8", "fp32"),
    "tensorrt-rtx": ("fp16", "int8", "fp32"),
}


def resolve_precision(target: Target, precision: str | None) -> Asked:
    """The precision to compile in, or "auto"; None takes the target's default.

    Raises:
        UsageError: the target does not compute in it.
    """
    offered = OFFERED[target.runtime]
    if precision is None:
        return offered[0]
    if precision == "auto":
        return "auto"
    for known in offered:
        if precision == known:
            return known
    raise UsageError(
        f"found --precision {precision}, expected auto, {' or '.join(sorted(offered))} for "
        f"target {target.name}: choose one of those"
    )
