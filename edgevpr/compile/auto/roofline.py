"""Roofline prediction of an assignment's latency on a GPU.

Node by node: the longer of its arithmetic (multiply-adds over the board's throughput in
the node's precision) and its traffic (bytes of activations and weights over the bandwidth), plus a
fixed cost for each kernel. Elementwise nodes behind a layer are fused into it and cost nothing; a
boundary between precisions costs the traffic of one more pass over the tensor. It ranks
assignments; it does not know caches, tactics or clocks, and the numbers are called predicted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from edgevpr.compile.auto.groups import multiply_adds
from edgevpr.compile.precision.choices import Precision
from edgevpr.compile.precision.structure import GraphIndex
from edgevpr.device.targets import Target, all_targets

#: Share of the peak that small layers reach with one image, and microseconds of a kernel's start.
EFFICIENCY = 0.35
KERNEL_US = 3.0
#: For a target whose profile has no figures: an entry-level board's, so that the prediction is
#: never too good.
ASSUMED_INT8_TOPS, ASSUMED_BANDWIDTH_GBS = 40.0, 68.0
#: Operators that a builder fuses into the layer before them, or that move no data.
_FREE = frozenset(
    {
        "Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Clip", "Cast", "Identity", "Reshape",
        "Squeeze", "Unsqueeze", "Flatten", "QuantizeLinear", "DequantizeLinear", "Constant",
    }
)  # fmt: skip
_BYTES: dict[Precision, float] = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class GpuLimits:
    """Throughput and bandwidth of a GPU."""

    #: multiply-adds a second, dense.
    macs: Mapping[Precision, float]
    bytes_s: float
    #: origin of the figures, in words.
    basis: str


def gpu_limits(target: Target) -> GpuLimits:
    """Limits from a target's profile, its family's smallest board, or else assumed ones."""
    members = [target, *(t for t in all_targets() if t.family == target.family and t.is_board)]
    known = [t for t in members if t.int8_tops and t.bandwidth_gbs]
    known = [target] if target in known else known
    if known:
        board = min(known, key=lambda t: t.bandwidth_gbs or 0)
        tops, bandwidth = board.int8_tops or 0.0, board.bandwidth_gbs or 0.0
        basis = f"the profile of {board.name}: {tops:g} sparse INT8 TOPS, {bandwidth:g} GB/s"
    else:
        tops, bandwidth = ASSUMED_INT8_TOPS, ASSUMED_BANDWIDTH_GBS
        basis = (
            f"assumed, {target.name}'s profile has no figures: {tops:g} sparse INT8 TOPS, "
            f"{bandwidth:g} GB/s"
        )
    # A multiply-add is two operations; vendors' TOPS are sparse, dense is half; FP16 tensor cores
    # run at half of INT8's rate, TF32 at half of that.
    int8 = tops * 1e12 / 2 / 2 * EFFICIENCY
    rates: dict[Precision, float] = {"int8": int8, "fp16": int8 / 2, "fp32": int8 / 4}
    return GpuLimits(rates, bandwidth * 1e9, basis)


def predict_ms(
    model: onnx.ModelProto, levels: Mapping[str, Precision], base: Precision, gpu: GpuLimits
) -> float:
    """Milliseconds of one image.

    Args:
        model: the graph before quantization, shapes inferred.
        levels: node name -> its precision, where that is not ``base``.
    """
    index = GraphIndex(model)
    total = 0.0
    for node in index.nodes:
        inputs = index.data_inputs(node)
        if not inputs or node.op_type in _FREE:
            continue
        level = levels.get(node.name, base)
        weights = sum(int(np.prod(index.weights[name])) for name in node.input
                      if name in index.weights)  # fmt: skip
        moved = index.size(node.output[0]) * _BYTES[base]
        for name in inputs:
            maker = index.producer.get(name)
            before = levels.get(maker.name, base) if maker is not None else base
            size = index.size(name)
            # INT8 reads INT8: where the maker does not write it, another pass quantizes.
            moved += size * _BYTES[level]
            if before != level and level == "int8":
                moved += size * (_BYTES[before] + _BYTES[level])
        moved += weights * _BYTES[level]
        compute = multiply_adds(index, node) / gpu.macs[level]
        total += max(compute, moved / gpu.bytes_s) + KERNEL_US * 1e-6
    return total * 1e3
