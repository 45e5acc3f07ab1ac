"""Typed graphs for TensorRT: FP16 with FP32 islands, INT8 with explicit Q/DQ.

NVIDIA's Model Optimizer (modelopt) does both on the CPU. What stays in FP32 and what goes to
INT8 is decided here, by ``edgevpr.compile.structure``.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.compile.calibration import FEWEST
from edgevpr.compile.graph import name_nodes, signature
from edgevpr.compile.qdq import release_bystanders
from edgevpr.compile.quiet import quiet
from edgevpr.compile.reference import activation_peaks
from edgevpr.compile.structure import fp32_islands, int8_layers
from edgevpr.compile.unpatched import unpatched
from edgevpr.errors import DataError, NumericsError

#: Activations beyond this keep their node in FP32; FP16 ends at 65504, and sums grow inside it.
FP16_LARGEST = 512.0
#: Images whose activations decide what exceeds ``FP16_LARGEST``.
FP16_IMAGES = 8


@dataclass(frozen=True)
class Typed:
    """A graph for strongly typed TensorRT, and one for releases before 10."""

    #: FP16, or FP16 and Q/DQ, written into the graph's own types.
    graph: onnx.ModelProto
    #: the same in FP32 types, whose precision is chosen with builder flags; see recipe.py.
    flags_graph: onnx.ModelProto
    #: node name -> why it stays in FP32.
    fp32_nodes: dict[str, str]
    #: names of the layers that run in INT8.
    int8_nodes: list[str]


def to_fp16(model: onnx.ModelProto, images: NDArray[np.uint8]) -> Typed:
    """FP16 everywhere but in the islands and where activations are large.

    Args:
        images: (n, H, W, 3) uint8; the first few drive the search for large activations.
    """
    kept = kept_in_fp32(model, images)
    return Typed(_autocast(model, kept), model, kept, [])


def to_int8(
    model: onnx.ModelProto,
    images: NDArray[np.uint8],
    *,
    method: Literal["entropy", "max"] = "entropy",
) -> Typed:
    """INT8 Q/DQ around the layers worth it, FP16 elsewhere, islands in FP32.

    Weights are symmetric per output channel, activations symmetric per tensor, as TensorRT asks.

    Args:
        images: (n, H, W, 3) uint8 calibration images.
        method: how ranges are set: by entropy (KL divergence) or by the largest magnitude.

    Raises:
        DataError: fewer than 8 images.
    """
    check_calibration(images)
    layers = [layer.name for layer in int8_layers(model)]
    quantized = _quantize(model, images, layers, method) if layers else model
    kept = kept_in_fp32(model, images)
    return Typed(_autocast(quantized, kept), quantized, kept, layers)


def check_calibration(images: NDArray[np.uint8] | None) -> None:
    """Raise DataError unless there are enough images to calibrate with."""
    found = 0 if images is None else len(images)
    if found < FEWEST:
        raise DataError(
            f"found {found} calibration images, expected at least {FEWEST}, better 100: pass "
            "--calibration with a folder of gallery or training images"
        )


def _quantize(
    model: onnx.ModelProto, images: NDArray[np.uint8], layers: list[str], method: str
) -> onnx.ModelProto:
    ends = signature(model)
    with tempfile.TemporaryDirectory(prefix="edgevpr-int8-") as folder:
        source, target = Path(folder, "model.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, str(source))
        with quiet(), unpatched():
            from modelopt.onnx.quantization import quantize

            quantize(
                str(source),
                calibration_data={ends.input: images},
                calibration_method=method,
                calibration_shapes=f"{ends.input}:{'x'.join(map(str, ends.input_shape))}",
                calibration_eps=["cpu"],
                nodes_to_quantize=[_exactly(name) for name in layers],
                high_precision_dtype="fp32",
                output_path=str(target),
                log_level="ERROR",
            )
        quantized = release_bystanders(onnx.load(str(target)), layers)
    return onnx.shape_inference.infer_shapes(name_nodes(quantized))


def kept_in_fp32(model: onnx.ModelProto, images: NDArray[np.uint8]) -> dict[str, str]:
    """Name -> reason of every node that stays in FP32: by structure, or by what it computes.

    Args:
        images: (n, H, W, 3) uint8; the first few are run to see how large activations get.
    """
    kept = fp32_islands(model)
    peaks = activation_peaks(model, images[:FP16_IMAGES])
    for node in model.graph.node:
        peak = max((peaks.get(name, 0.0) for name in (*node.input, *node.output)), default=0.0)
        if not peak <= FP16_LARGEST and node.name not in kept:
            kept[node.name] = f"activations up to {peak:.0f}"
    return kept


def _autocast(model: onnx.ModelProto, kept: dict[str, str]) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory(prefix="edgevpr-fp16-") as folder:
        source = Path(folder, "model.onnx")
        onnx.save(model, str(source))
        with quiet():
            from modelopt.onnx.autocast import convert_to_mixed_precision

            typed = convert_to_mixed_precision(
                str(source),
                low_precision_type="fp16",
                nodes_to_exclude=[_exactly(name) for name in kept],
                # Infinity: it need not run the network, kept_in_fp32 has.
                data_max=np.inf,
                keep_io_types=True,
                providers=["cpu"],
            )
    typed = onnx.shape_inference.infer_shapes(name_nodes(typed))
    _check_half_weights(typed)
    return typed


def _check_half_weights(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            bad = int((~np.isfinite(onnx.numpy_helper.to_array(tensor))).sum())
            if bad:
                raise NumericsError(
                    f"weight {tensor.name!r} has {bad} values beyond FP16's range, expected none: "
                    "compile with --precision fp32"
                )


def _exactly(name: str) -> str:
    return f"^{re.escape(name)}$"
