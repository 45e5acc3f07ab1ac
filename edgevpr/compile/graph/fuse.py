"""Graph surgery before precision: the projection fused in, constants folded."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgevpr.compile.graph.reference import describe
from edgevpr.compile.graph.signature import name_nodes, tensor_ends
from edgevpr.errors import SpaceMismatchError
from edgevpr.quiet import quiet
from edgevpr.retrieval.projection import Projection

#: Largest difference that cleaning a graph up may make: of a unit vector's components; in a part of
#: a network, whose states have any length, a share of the largest value.
CLEAN_TOLERANCE = 1e-5


def fuse_projection(model: onnx.ModelProto, projection: Projection) -> onnx.ModelProto:
    """The graph followed by ``normalize(matrix @ (x - mean))``: output (1, d) instead of (1, D).

    The mean is folded into a bias, so that the whole is one Gemm and an L2 norm.

    Raises:
        SpaceMismatchError: the projection is for descriptors of another width.
    """
    ends = tensor_ends(model)
    (d, full), dim = projection.shape, ends.output_shape[-1]
    if full != dim:
        raise SpaceMismatchError(
            f"found a projection for descriptors of width {full}, expected {dim}, the graph's:"
            " run edgevpr index FEATURES with features of the same gallery network"
        )
    fused = onnx.ModelProto()
    fused.CopyFrom(model)
    graph, full_name = fused.graph, f"{ends.output}_full"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [full_name if name == ends.output else name for name in names]
    _append_projection(graph, projection, full_name, ends.output)
    graph.output[0].CopyFrom(helper.make_tensor_value_info(ends.output, TensorProto.FLOAT, [1, d]))
    # Shapes inferred for the old output would contradict the new one.
    kept = [value for value in graph.value_info if value.name != ends.output]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    return fused


def _append_projection(
    graph: onnx.GraphProto, projection: Projection, source: str, output: str
) -> None:
    """Add the nodes and weights of the projection and the L2 norm after it."""
    bias = -(projection.matrix.astype(np.float64) @ projection.mean).astype(np.float32)
    weights = {
        "projection.matrix": projection.matrix.astype(np.float32),
        "projection.bias": bias,
        "projection.floor": np.array(1e-12, np.float32),
        "projection.axes": np.array([1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in weights.items())
    raw, length, divisor = (f"projection.{name}" for name in ("raw", "length", "divisor"))
    make = helper.make_node
    graph.node.extend(
        [
            make(
                "Gemm",
                [source, "projection.matrix", "projection.bias"],
                [raw],
                "projection.gemm",
                transB=1,
            ),
            make("ReduceL2", [raw, "projection.axes"], [length], "projection.norm", keepdims=1),
            make("Clip", [length, "projection.floor"], [divisor], "projection.clip"),
            make("Div", [raw, divisor], [output], "projection.div"),
        ]
    )


def cast_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its uint8 input cast before anything else.

    TensorRT takes uint8 as an input and casts it, and does nothing else with it; exporters may
    put the transposition to NCHW first.
    """
    ends = tensor_ends(model)
    graph = model.graph
    readers = [node for node in graph.node if ends.input in node.input]
    if len(readers) != 1 or readers[0].op_type != "Transpose":
        return model
    transpose = readers[0]
    casts = [node for node in graph.node if transpose.output[0] in node.input]
    if len(casts) != 1 or casts[0].op_type != "Cast":
        return model
    swapped = onnx.ModelProto()
    swapped.CopyFrom(model)
    nodes = {node.name: node for node in swapped.graph.node}
    first, second = nodes[casts[0].name], nodes[transpose.name]
    between, last = second.output[0], first.output[0]
    first.input[0], first.output[0] = ends.input, between
    second.input[0], second.output[0] = between, last
    order = [node.name for node in graph.node]
    i, j = order.index(transpose.name), order.index(casts[0].name)
    order[i], order[j] = order[j], order[i]
    ordered = [onnx.NodeProto.FromString(nodes[name].SerializeToString()) for name in order]
    del swapped.graph.node[:]
    swapped.graph.node.extend(ordered)
    # The shape that was inferred between the two is now of another type.
    kept = [value for value in swapped.graph.value_info if value.name != between]
    del swapped.graph.value_info[:]
    swapped.graph.value_info.extend(kept)
    return swapped


def clean_up(model: onnx.ModelProto, probes: NDArray[np.uint8]) -> onnx.ModelProto:
    """Fold constants and drop dead nodes (onnxslim), if the descriptors stay the same.

    BatchNorm folds into convolutions; the self-attention of BoQ's learned queries, which depends on
    no image, into a constant.

    Args:
        probes: (n, H, W, 3) uint8 images to compare on; of a part, (n, ...) states that it reads.

    Returns:
        the smaller graph with shapes inferred, or the graph as it was if cleaning changed it.
    """
    slimmed = _slim(model) or model
    slimmed = cast_first(name_nodes(slimmed))
    slimmed = onnx.shape_inference.infer_shapes(slimmed, data_prop=True)
    expected = describe(model, probes)
    change = np.abs(describe(slimmed, probes) - expected).max()
    if not change <= CLEAN_TOLERANCE * max(1.0, float(np.abs(expected).max())):
        return onnx.shape_inference.infer_shapes(cast_first(model), data_prop=True)
    return slimmed


def _slim(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """onnxslim's version of a copy; None where it fails."""
    with quiet():
        from onnxslim import slim

        try:
            return slim(onnx.ModelProto.FromString(model.SerializeToString()))
        except Exception:  # of any kind: the graph as exported serves as well
            return None
