"""Typed graphs, and the check of the images that INT8 is calibrated with."""

from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray

from edgevpr.compile.precision.calibration import FEWEST
from edgevpr.errors import DataError
from edgevpr.printable import counted


@dataclass(frozen=True)
class TypedGraph:
    """A graph for strongly typed TensorRT, and one for releases before 10."""

    #: FP16, or FP16 and Q/DQ, written into the graph's own types.
    graph: onnx.ModelProto
    #: the same in FP32 types, whose precision is chosen with builder flags; see recipe.py.
    flags_graph: onnx.ModelProto
    #: node name -> why it stays in FP32.
    fp32_nodes: dict[str, str]
    #: names of the layers that run in INT8.
    int8_nodes: list[str]


def check_calibration(images: NDArray[Any] | None) -> None:
    """Raise DataError unless there are enough images to calibrate with."""
    found = 0 if images is None else len(images)
    if found < FEWEST:
        raise DataError(
            f"found {counted(found, 'calibration image')}, expected at least {FEWEST}, better 100: "
            "pass `calibration` with a folder of gallery or training images"
        )
