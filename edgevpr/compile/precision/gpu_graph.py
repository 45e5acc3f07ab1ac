"""Typed graphs for TensorRT: FP16 with FP32 islands, INT8 with explicit Q/DQ.

NVIDIA's Model Optimizer (modelopt) does both on the CPU. Which nodes stay in FP32 and which go to
INT8 is decided here, by ``edgevpr.compile.precision.structure``.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.compile.graph.reference import activation_peaks
from edgevpr.compile.graph.signature import name_nodes
from edgevpr.compile.precision.calibration import extremes
from edgevpr.compile.precision.choices import Method
from edgevpr.compile.precision.modelopt import autocast, quantize_gpu
from edgevpr.compile.precision.qdq import release_bystanders
from edgevpr.compile.precision.structure import fp32_islands, int8_layers
from edgevpr.compile.precision.typed import TypedGraph, check_calibration

#: Activations beyond this keep their node in FP32; FP16 ends at 65504, and sums grow inside it.
FP16_LARGEST = 512.0
#: Images whose activations are compared with ``FP16_LARGEST``.
FP16_IMAGES = 8


def to_fp16(
    model: onnx.ModelProto, images: NDArray[Any], *, extreme: NDArray[Any] | None = None
) -> TypedGraph:
    """FP16 everywhere but in the islands and where activations are large.

    Args:
        images: (n, H, W, 3) uint8; the first few drive the search for large activations.
        extreme: see ``kept_in_fp32``.
    """
    kept = kept_in_fp32(model, images, extreme)
    return TypedGraph(autocast(model, kept), model, kept, [])


def to_int8(
    model: onnx.ModelProto,
    images: NDArray[Any],
    *,
    method: Method | None = None,
    extreme: NDArray[Any] | None = None,
) -> TypedGraph:
    """INT8 Q/DQ around the layers worth it, FP16 elsewhere, islands in FP32.

    Weights are symmetric per output channel, activations symmetric per tensor, as TensorRT asks.

    Args:
        images: (n, H, W, 3) uint8 calibration images.
        method: how ranges are set: by entropy (KL divergence, the default), the largest magnitude,
            or the 99.999th percentile.
        extreme: see ``kept_in_fp32``.

    Raises:
        DataError: fewer than 8 images.
    """
    check_calibration(images)
    layers = [layer.name for layer in int8_layers(model)]
    quantized = model
    if layers:
        quantized = release_bystanders(quantize_gpu(model, images, layers, method=method), layers)
        quantized = onnx.shape_inference.infer_shapes(name_nodes(quantized))
    kept = kept_in_fp32(model, images, extreme)
    return TypedGraph(autocast(quantized, kept), quantized, kept, layers)


def kept_in_fp32(
    model: onnx.ModelProto, images: NDArray[Any], extreme: NDArray[Any] | None = None
) -> dict[str, str]:
    """Name -> reason of every node that stays in FP32: by structure, or by what it computes.

    Args:
        images: (n, H, W, 3) uint8; the first few, and extreme ones, are run to see how large
            activations get. Of a part of a network, (n, ...) states that it reads.
        extreme: what a part reads of extreme images; None: ``images`` are images.
    """
    kept = fp32_islands(model)
    if extreme is None:
        extreme = extremes(*images.shape[1:3])
    probes = np.concatenate([images[:FP16_IMAGES], extreme])
    peaks = activation_peaks(model, probes)
    for node in model.graph.node:
        peak = max((peaks.get(name, 0.0) for name in (*node.input, *node.output)), default=0.0)
        if not peak <= FP16_LARGEST and node.name not in kept:
            kept[node.name] = f"activations up to {peak:.0f}"
    return kept
