"""Request of a compilation: graph, target, precision, images."""

from dataclasses import dataclass

from edgevpr.compile.auto.search import Goal
from edgevpr.compile.auto.tuning_images import GallerySearcher, TuningImages
from edgevpr.compile.options import resolve_precision
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.compile.precision.choices import Exits, Method, PrecisionOrAuto
from edgevpr.compile.precision.typed import check_calibration
from edgevpr.compile.source import ModelSource
from edgevpr.device.targets import Target, load_target
from edgevpr.errors import UsageError


@dataclass(frozen=True)
class RecallGoal:
    """Recall that the search for a precision must keep, and the images it is measured on."""

    goal: Goal
    tuning: TuningImages
    gallery: GallerySearcher
    #: SHA-256 of the gallery artifact.
    digest: str


@dataclass(frozen=True)
class CompileRequest:
    """A graph, the target it is compiled for, and the images that calibrate and judge it."""

    source: ModelSource
    target: Target
    precision: PrecisionOrAuto
    images: CalibrationImages
    #: how INT8 ranges are set; None: the usual method of the target.
    method: Method | None = None
    #: needed by precision "auto".
    recall: RecallGoal | None = None
    #: of a source with early exits.
    exits: Exits = "together"

    def __post_init__(self) -> None:
        if self.precision in ("int8", "auto"):
            check_calibration(self.images.calibration)
        check_gallery(self.precision, self.recall)

    @property
    def runs_here(self) -> bool:
        """Whether the bundle's engine is ONNX Runtime itself, which this machine has."""
        return self.target.runtime == "onnxruntime"


def check_gallery(precision: PrecisionOrAuto, gallery: object | None) -> None:
    """Raise UsageError where a precision is to be searched for without a gallery."""
    if precision == "auto" and gallery is None:
        raise UsageError(
            "found `precision` auto without `gallery`, expected one to measure recall in: pass "
            "`gallery`, or `precision` int8"
        )


def request_for(
    source: ModelSource, target: str, precision: str | None, images: CalibrationImages
) -> CompileRequest:
    """A request by names; ``precision`` None takes the target's default.

    Raises:
        UsageError: an unknown target, or a precision it does not have.
        DataError: INT8 with fewer than 8 calibration images.
    """
    known = load_target(target)
    return CompileRequest(source, known, resolve_precision(known, precision), images)
