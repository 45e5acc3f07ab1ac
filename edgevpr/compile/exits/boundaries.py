"""Boundaries in FP16: between the graphs of a network whose engines run on a GPU."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgevpr.compile.exits.cut import Cut
from edgevpr.compile.graph.signature import name_nodes, tensor_ends
from edgevpr.compile.precision.typed import TypedGraph

#: Largest magnitude of a state or token that is handed on in FP16. It is only stored, so a quarter
#: of FP16's range leaves room for images unlike those that were tried.
STORED_LARGEST = 16384.0


def half_boundaries(cut: Cut, largest: Mapping[str, float]) -> tuple[set[str], set[str]]:
    """Names of the graphs that read FP16, and of those that write it.

    Graphs that hand something to the same reader, and all readers of the same graph, agree: where
    one of them needs FP32, all have it.

    Args:
        largest: largest magnitude that each graph puts out, by its name.
    """
    edges = {pair for route in cut.routes.values() for pair in itertools.pairwise(route)}
    readers, writers = {b for _, b in edges}, {a for a, _ in edges}
    wide = {key for key in writers if not largest[key] <= STORED_LARGEST}
    while True:
        narrow = {b for b in readers if not any(a in wide for a, c in edges if c == b)}
        more = {a for a, b in edges if b not in narrow}
        if more <= wide:
            return narrow, writers - wide
        wide |= more


def peaks_of_outputs(states: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Largest magnitude of each graph's outputs; infinity where one is not finite."""
    found = {}
    for key, values in states.items():
        peak = float(np.abs(values).max(initial=0))
        found[key] = peak if np.isfinite(peak) else np.inf
    return found


def with_half_ends(typed: TypedGraph, *, reads: bool, writes: bool) -> TypedGraph:
    """Both graphs with FP16 in place of FP32 at their ends."""
    graph = half_ends(typed.graph, reads=reads, writes=writes)
    if typed.flags_graph is typed.graph:
        return TypedGraph(graph, graph, typed.fp32_nodes, typed.int8_nodes)
    flags = half_ends(typed.flags_graph, reads=reads, writes=writes)
    return TypedGraph(graph, flags, typed.fp32_nodes, typed.int8_nodes)


def half_ends(model: onnx.ModelProto, *, reads: bool, writes: bool) -> onnx.ModelProto:
    """The graph with an FP16 input or output; casts to FP16 and back that this makes idle go.

    Args:
        reads, writes: which ends change; an end of another type than FP32 must not be named.
    """
    if not (reads or writes):
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    if reads:
        _read_half(changed.graph, tensor_ends(model).input)
    if writes:
        _write_half(changed.graph, tensor_ends(model).output)
    return onnx.shape_inference.infer_shapes(name_nodes(changed))


def _read_half(graph: onnx.GraphProto, name: str) -> None:
    source = next(value for value in graph.input if value.name == name)
    source.type.tensor_type.elem_type = TensorProto.FLOAT16
    outputs = {value.name for value in graph.output}
    idle = {
        node.output[0]
        for node in graph.node
        if _casts(node, TensorProto.FLOAT16)
        and node.input[0] == name
        and node.output[0] not in outputs
    }
    kept = [node for node in graph.node if not (node.output and node.output[0] in idle)]
    full = f"{name}.full"
    widen = False
    for node in kept:
        if any(i == name for i in node.input) and node.op_type != "Cast":
            node.input[:] = [full if i == name else i for i in node.input]
            widen = True
        node.input[:] = [name if i in idle else i for i in node.input]
    cast = helper.make_node("Cast", [name], [full], f"{full}.cast", to=TensorProto.FLOAT)
    _replace(graph, [cast, *kept] if widen else kept, without={*idle, name})


def _write_half(graph: onnx.GraphProto, name: str) -> None:
    sink = graph.output[0]
    sink.type.tensor_type.elem_type = TensorProto.FLOAT16
    nodes = list(graph.node)
    maker = next(node for node in nodes if name in node.output)
    alone = not any(name in node.input for node in nodes)
    halves = {n for node in nodes for n in node.output if _casts(node, TensorProto.FLOAT16)}
    halves |= {
        value.name
        for value in [*graph.value_info, *graph.input]
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    inputs = {value.name for value in graph.input}
    source = maker.input[0] if maker.input else ""
    if alone and _casts(maker, TensorProto.FLOAT) and source in halves - inputs:
        nodes.remove(maker)
        for node in nodes:
            for names in (node.input, node.output):
                names[:] = [name if n == source else n for n in names]
        _replace(graph, nodes, without={source, name})
        return
    full = f"{name}.full"
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [full if n == name else n for n in names]
    cast = helper.make_node("Cast", [full], [name], f"{full}.cast", to=TensorProto.FLOAT16)
    _replace(graph, [*nodes, cast], without={name})


def _casts(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == kind for a in node.attribute)


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], without: set[str]) -> None:
    """Put other nodes into the graph, and forget the types of some of its tensors."""
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    values = [value for value in graph.value_info if value.name not in without]
    del graph.value_info[:]
    graph.value_info.extend(values)
