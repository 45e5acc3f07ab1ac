"""Emulation of FP16 in an FP32 graph: values that chosen nodes read and write are rounded."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def rounded_to_half(model: onnx.ModelProto, nodes: Iterable[str]) -> onnx.ModelProto:
    """The graph with these nodes' inputs, weights and outputs rounded to FP16.

    Sums inside a node stay in FP32, as in tensor cores. Run it as written: optimizers remove two
    opposite casts.
    """
    chosen = set(nodes)
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    graph = rounded.graph
    types = {v.name: v.type.tensor_type.elem_type
             for v in [*graph.value_info, *graph.input, *graph.output]}  # fmt: skip
    weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    outputs = {value.name for value in graph.output}
    made: list[onnx.NodeProto] = []
    halves: dict[str, str] = {}

    def through_half(name: str, out: str) -> list[onnx.NodeProto]:
        between = f"{out}.half"
        return [
            helper.make_node("Cast", [name], [between], f"{out}.down", to=TensorProto.FLOAT16),
            helper.make_node("Cast", [between], [out], f"{out}.up", to=TensorProto.FLOAT),
        ]

    for node in graph.node:
        if node.name not in chosen:
            made.append(node)
            continue
        for i, name in enumerate(node.input):
            if name in weights and name not in halves:
                halves[name] = f"{name}.rounded"
                with np.errstate(over="ignore"):
                    half = numpy_helper.to_array(weights[name]).astype(np.float16)
                graph.initializer.append(
                    numpy_helper.from_array(half.astype(np.float32), halves[name])
                )
            elif types.get(name) == TensorProto.FLOAT and name not in halves:
                halves[name] = f"{name}.rounded"
                made += through_half(name, halves[name])
            node.input[i] = halves.get(name, name)
        made.append(node)
        for i, name in enumerate(node.output):
            if types.get(name) == TensorProto.FLOAT and name not in outputs:
                node.output[i] = f"{name}.full"
                made += through_half(node.output[i], name)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in made]
    del graph.node[:]
    graph.node.extend(kept)
    return rounded
