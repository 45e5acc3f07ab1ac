"""Conversion of graphs to opset 17, for TensorRT 8: its parser was built against ONNX 1.13."""

import onnx
from onnx import helper, numpy_helper, version_converter

from edgevpr.compile.graph.signature import name_nodes, opset

#: Newest operator set that TensorRT 8.5 and 8.6 document.
OPSET = 17
#: Reductions whose axes became an input in opset 18. (ReduceSum's did in 13.)
_REDUCTIONS = frozenset(
    {
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
        "ReduceMin", "ReduceProd", "ReduceSumSquare",
    }
)  # fmt: skip


def to_opset_17(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The graph in opset 17, or None if it needs an operator that opset 17 lacks.

    ONNX's own converter goes down to 18; from there two things changed that our graphs use: the
    axes of reductions are an attribute again, and Split names no number of outputs.
    """
    if opset(model) <= OPSET:
        return model
    try:
        lower = version_converter.convert_version(model, 18)
        weights = {tensor.name: tensor for tensor in lower.graph.initializer}
        for node in lower.graph.node:
            if node.op_type in _REDUCTIONS and len(node.input) > 1:
                axes = numpy_helper.to_array(weights[node.input[1]])
                del node.input[1]
                node.attribute.append(helper.make_attribute("axes", axes.tolist()))
            if node.op_type in _REDUCTIONS or node.op_type == "Split":
                kept = [
                    a
                    for a in node.attribute
                    if a.name not in ("noop_with_empty_axes", "num_outputs")
                ]
                del node.attribute[:]
                node.attribute.extend(kept)
        for entry in lower.opset_import:
            if entry.domain == "":
                entry.version = OPSET
        onnx.checker.check_model(lower, full_check=True)
    except (
        RuntimeError,
        KeyError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ):
        return None
    return name_nodes(lower)
