"""FP16 graphs in FP32 types, with every rounding to FP16 written out.

ONNX Runtime has few FP16 kernels for CPUs. Around the others it casts to FP32 and back, and then
drops each pair of casts between two of them, so that values are never rounded and never overflow.
Casts down and up that a graph itself holds it keeps.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def explicit_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with FP32 in place of FP16, and values rounded where they were FP16.

    Sums inside a node stay in FP32, as in tensor cores. A graph without FP16 comes back as it is.

    Args:
        model: with the types of all its tensors inferred.
    """
    graph = model.graph
    values = [*graph.value_info, *graph.input, *graph.output]
    half = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT16}
    weights = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT16}
    if not half and not weights:
        return model
    explicit = onnx.ModelProto()
    explicit.CopyFrom(model)
    graph = explicit.graph
    nodes: list[onnx.NodeProto] = []
    renamed: dict[str, str] = {}
    for value in graph.input:
        if value.name in half:
            renamed[value.name] = f"{value.name}.rounded"
            nodes += _rounding(value.name, renamed[value.name])
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        _widen_attributes(node)
        nodes.append(node)
        for i, name in enumerate(node.output):
            if name in half:
                node.output[i] = f"{name}.wide"
                nodes += _rounding(node.output[i], name)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    for value in [*graph.value_info, *graph.input, *graph.output]:
        if value.name in half:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for tensor in graph.initializer:
        if tensor.name in weights:
            _widen(tensor)
    return explicit


def _rounding(name: str, out: str) -> list[onnx.NodeProto]:
    between = f"{out}.half"
    return [
        helper.make_node("Cast", [name], [between], f"{out}.down", to=TensorProto.FLOAT16),
        helper.make_node("Cast", [between], [out], f"{out}.up", to=TensorProto.FLOAT),
    ]


def _widen_attributes(node: onnx.NodeProto) -> None:
    """FP32 for FP16 in what a node makes by itself: casts, constants."""
    for attribute in node.attribute:
        casts = node.op_type == "Cast" and attribute.name == "to"
        if casts and attribute.i == TensorProto.FLOAT16:
            attribute.i = TensorProto.FLOAT
        elif attribute.t.data_type == TensorProto.FLOAT16:
            _widen(attribute.t)


def _widen(tensor: TensorProto) -> None:
    values = numpy_helper.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
