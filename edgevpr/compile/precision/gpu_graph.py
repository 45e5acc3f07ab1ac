"""Typed graphs for TensorRT: FP16 with FP32 islands, INT8 with explicit Q/DQ.

NVIDIA's Model Optimizer (modelopt) does both on the CPU. What stays in FP32 and what goes to
INT8 is decided here, by ``edgevpr.compile.precision.structure``.
"""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.compile.graph.reference import activation_peaks
from edgevpr.compile.graph.signature import name_nodes, signature
from edgevpr.compile.precision.calibration import FEWEST, extremes
from edgevpr.compile.precision.qdq import release_bystanders
from edgevpr.compile.precision.structure import fp32_islands, int8_layers
from edgevpr.compile.unpatched import unpatched
from edgevpr.errors import DataError, NumericsError
from edgevpr.quiet import quiet

#: How INT8 ranges are set from what calibration images show.
Method = Literal["entropy", "max", "percentile"]
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
    return Typed(autocast(model, kept), model, kept, [])


def to_int8(
    model: onnx.ModelProto,
    images: NDArray[np.uint8],
    *,
    method: Method | None = None,
) -> Typed:
    """INT8 Q/DQ around the layers worth it, FP16 elsewhere, islands in FP32.

    Weights are symmetric per output channel, activations symmetric per tensor, as TensorRT asks.

    Args:
        images: (n, H, W, 3) uint8 calibration images.
        method: how ranges are set: by entropy (KL divergence, the default), the largest magnitude,
            or the 99.999th percentile.

    Raises:
        DataError: fewer than 8 images.
    """
    check_calibration(images)
    layers = [layer.name for layer in int8_layers(model)]
    quantized = model
    if layers:
        quantized = release_bystanders(quantize_gpu(model, images, layers, method=method), layers)
        quantized = onnx.shape_inference.infer_shapes(name_nodes(quantized))
    kept = kept_in_fp32(model, images)
    return Typed(autocast(quantized, kept), quantized, kept, layers)


def check_calibration(images: NDArray[np.uint8] | None) -> None:
    """Raise DataError unless there are enough images to calibrate with."""
    found = 0 if images is None else len(images)
    if found < FEWEST:
        raise DataError(
            f"found {found} calibration images, expected at least {FEWEST}, better 100: pass "
            "--calibration with a folder of gallery or training images"
        )


def quantize_gpu(
    model: onnx.ModelProto,
    images: NDArray[np.uint8],
    layers: list[str],
    *,
    method: Method | None = None,
) -> onnx.ModelProto:
    """Q/DQ around these nodes in an FP32 graph, as modelopt's quantizer leaves it.

    Args:
        images: (n, H, W, 3) uint8 calibration images.
        layers: names of Conv, MatMul, Gemm and Add nodes.
    """
    ends = signature(model)
    with tempfile.TemporaryDirectory(prefix="edgevpr-int8-") as folder:
        source, target = Path(folder, "model.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, str(source))
        with quiet(), unpatched(), _ranges_by(method or "entropy") as known:
            from modelopt.onnx.quantization import quantize

            quantize(
                str(source),
                calibration_data={ends.input: images},
                calibration_method=known,
                calibration_shapes=f"{ends.input}:{'x'.join(map(str, ends.input_shape))}",
                calibration_eps=["cpu"],
                nodes_to_quantize=[_exactly(name) for name in layers],
                high_precision_dtype="fp32",
                output_path=str(target),
                log_level="ERROR",
            )
        return onnx.load(str(target))


@contextlib.contextmanager
def _ranges_by(method: Method) -> Iterator[str]:
    """modelopt's name of a method. It offers two of the three that the code it calls has: for the
    third, "entropy" stands for percentile while the block runs.
    """
    if method != "percentile":
        yield method
        return
    from modelopt.onnx.quantization import int8
    from onnxruntime.quantization import CalibrationMethod

    before = int8.CalibrationMethod
    int8.CalibrationMethod = SimpleNamespace(
        Entropy=CalibrationMethod.Percentile, MinMax=CalibrationMethod.MinMax
    )
    try:
        yield "entropy"
    finally:
        int8.CalibrationMethod = before


def kept_in_fp32(model: onnx.ModelProto, images: NDArray[np.uint8]) -> dict[str, str]:
    """Name -> reason of every node that stays in FP32: by structure, or by what it computes.

    Args:
        images: (n, H, W, 3) uint8; the first few, and extreme ones, are run to see how large
            activations get.
    """
    kept = fp32_islands(model)
    probes = np.concatenate([images[:FP16_IMAGES], extremes(*images.shape[1:3])])
    peaks = activation_peaks(model, probes)
    for node in model.graph.node:
        peak = max((peaks.get(name, 0.0) for name in (*node.input, *node.output)), default=0.0)
        if not peak <= FP16_LARGEST and node.name not in kept:
            kept[node.name] = f"activations up to {peak:.0f}"
    return kept


def autocast(model: onnx.ModelProto, kept: dict[str, str]) -> onnx.ModelProto:
    """The graph in FP16 but for the nodes ``kept``; its ends keep their types.

    Raises:
        NumericsError: a weight is beyond FP16's range.
    """
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
