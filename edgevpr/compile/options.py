"""Options of a compilation, and the precision they resolve to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from edgevpr.compile.precision.choices import (
    EXITS,
    METHODS,
    Exits,
    Method,
    Precision,
    PrecisionOrAuto,
)
from edgevpr.errors import UsageError
from edgevpr.option import Option

if TYPE_CHECKING:
    from edgevpr.device.targets import Target


@dataclass(frozen=True)
class CompileOptions:
    """Options of ``edgevpr compile``; the model and the bundle to write stand beside them."""

    target: Annotated[str, Option("cpu, rtx-ada, jetson-orin, ...: edgevpr devices.")]
    precision: Annotated[
        str | None,
        Option(
            "fp32, fp16, int8, or auto: the fastest that keeps the recall. The default is fp32 "
            "for cpu, fp16 for GPUs."
        ),
    ] = None
    gallery: Annotated[
        Path | None,
        Option(
            "Gallery artifact: its projection is fused into the graph; auto measures recall in it."
        ),
    ] = None
    calibration: Annotated[
        Path | None,
        Option(
            "Folder of gallery or training images: INT8 ranges, parity and golden vectors. By "
            "default the gallery's own images, where its records lead to them."
        ),
    ] = None
    count: Annotated[int, Option("How many of them to calibrate with.", min=8)] = 128
    calibrator: Annotated[
        Method | None,
        Option(
            "How INT8 ranges are set: entropy, max or percentile; the default is percentile for "
            "cpu, entropy for GPUs."
        ),
    ] = None
    tuning: Annotated[
        Path | None,
        Option(
            "auto: folder of images with places to measure recall on, never the evaluation "
            "queries. By default the images that calibrate, each left out of its own search."
        ),
    ] = None
    max_recall_drop: Annotated[
        float, Option("auto: points of R@1 that may be lost.", min=0, max=100)
    ] = 0.5
    max_minutes: Annotated[float, Option("auto: minutes after which nothing more is tried.")] = 10.0
    radius_m: Annotated[
        float,
        Option("auto: metres within which a gallery image answers.", flag="--radius"),
    ] = 25.0
    exits: Annotated[
        Exits,
        Option(
            "Early exits of a model that has some. together: through segments that they share, "
            "every weight once; separate: each as one graph of its own, for a robot that stays at "
            "one; none: the whole network alone."
        ),
    ] = "together"
    seed: Annotated[int, Option("Seed of the choice of images.")] = 0
    cache: Annotated[bool, Option("Keep the stages of compilations and use them again.")] = True

    def __post_init__(self) -> None:
        if not 0 <= self.max_recall_drop <= 100:
            raise UsageError(
                f"found `max_recall_drop` {self.max_recall_drop:g}, expected points of R@1 between "
                "0 and 100: pass `max_recall_drop` 0.5"
            )
        if not self.max_minutes > 0:
            raise UsageError(
                f"found `max_minutes` {self.max_minutes:g}, expected minutes above 0: pass "
                "`max_minutes` 10"
            )
        if self.calibrator not in (None, *METHODS):
            raise UsageError(
                f"found `calibrator` {self.calibrator}, expected entropy, max or percentile: "
                "choose one of those, or leave it out"
            )
        if self.exits not in EXITS:
            raise UsageError(
                f"found `exits` {self.exits}, expected together, separate or none: choose one of "
                "those, or leave it out"
            )


#: Precisions that a target's engine computes in, its default first.
OFFERED: dict[str, tuple[Precision, ...]] = {
    "onnxruntime": ("fp32", "int8"),
    "tensorrt": ("fp16", "int8", "fp32"),
    "tensorrt-rtx": ("fp16", "int8", "fp32"),
}


def resolve_precision(target: "Target", precision: str | None) -> PrecisionOrAuto:
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
        f"found `precision` {precision}, expected auto, {' or '.join(sorted(offered))} for "
        f"target {target.name}: choose one of those"
    )
