"""Groups of layers that share a precision, the units of the search.

A group is all layers of one kind that work on maps of one size: their cost and their error in INT8
are alike, and a few dozen groups can each be measured where hundreds of layers cannot.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import helper

from edgevpr.compile.precision.structure import GraphIndex, reads_image
from edgevpr.printable import counted

Kind = Literal[
    "stem", "convolution", "pointwise", "depthwise", "attention", "product", "residual", "head"
]


@dataclass(frozen=True)
class Group:
    """Nodes that change precision together."""

    #: for example "depthwise 20x20": the kind, and the size of the maps it puts out.
    name: str
    kind: Kind
    nodes: tuple[str, ...]
    #: multiply-adds of one inference.
    macs: int


def layer_groups(model: onnx.ModelProto, among: Collection[str] | None = None) -> list[Group]:
    """All that could run in INT8, by kind and size of map, in the order of the graph.

    * stem: reads the image itself.
    * depthwise: grouped convolutions; pointwise: of one tap; convolution: all others.
    * attention: layers that make queries, keys and values, up to a product of two activations.
    * product: other matrix products with constant weights.
    * residual: sums of two activations of the same shape.
    * head: products and convolutions after which no other comes.

    Args:
        among: names of the nodes to group; None: all of these kinds.
    """
    index = GraphIndex(model)
    members: dict[tuple[Kind, str], list[str]] = defaultdict(list)
    macs: dict[tuple[Kind, str], int] = defaultdict(int)
    feeds_product, feeds_weights = _downstream(index)
    for node in index.nodes:
        if among is not None and node.name not in among:
            continue
        sink = index.shapes.get(node.output[0], ())
        if node.op_type == "Add":
            inputs = index.data_inputs(node)
            shapes = {index.shapes.get(name) for name in inputs}
            if len(inputs) != 2 or len(shapes) != 1 or len(sink) < 3:
                continue
            kind: Kind = "residual"
            cost = 0
        else:
            cost = multiply_adds(index, node)
            if not cost or not index.data_inputs(node):
                continue
            kind = _kind(index, node, node.name in feeds_product, node.name in feeds_weights)
        key = (kind, _size(sink, node.op_type))
        members[key].append(node.name)
        macs[key] += cost
    return [
        Group(f"{kind} {size}".strip(), kind, tuple(members[kind, size]), macs[kind, size])
        for kind, size in members
    ]


def multiply_adds(index: GraphIndex, node: onnx.NodeProto) -> int:
    """Multiply-adds of a convolution or matrix product with constant weights; 0 of all else."""
    if node.op_type not in ("Conv", "MatMul", "Gemm") or len(node.input) < 2:
        return 0
    weight, sink = index.weights.get(node.input[1]), index.size(node.output[0])
    if weight is None or not sink:
        return 0
    if node.op_type == "Conv":
        return int(np.prod(weight[1:])) * sink
    transposed = {a.name: helper.get_attribute_value(a) for a in node.attribute}.get("transB", 0)
    return int(weight[-1] if transposed else weight[-2 if len(weight) > 1 else 0]) * sink


def _kind(index: GraphIndex, node: onnx.NodeProto, attends: bool, followed: bool) -> Kind:
    if reads_image(index, node):
        return "stem"
    if not followed:
        return "head"
    if attends:
        return "attention"
    if node.op_type != "Conv":
        return "product"
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes.get("group", 1) != 1:
        return "depthwise"
    return "pointwise" if set(index.weights[node.input[1]][2:]) == {1} else "convolution"


def _size(shape: tuple[int, ...], operator: str) -> str:
    if len(shape) == 4 and operator in ("Conv", "Add"):
        return f"{shape[2]}x{shape[3]}"
    return counted(int(np.prod(shape[:-1])), "row") if len(shape) > 1 else ""


def _downstream(index: GraphIndex) -> tuple[set[str], set[str]]:
    """Names of the layers that feed a product of activations directly, and any other layer."""
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in index.nodes:
        for name in index.data_inputs(node):
            readers[name].append(node)
    products: dict[str, bool] = {}
    weighted: dict[str, bool] = {}
    for node in reversed(index.nodes):
        after = [reader for name in node.output for reader in readers[name]]
        # "Directly": with no other layer, and no sum that leaves the branch, in between.
        products[node.name] = any(
            _is_product(index, reader)
            or (not multiply_adds(index, reader) and reader.op_type != "Add"
                and products[reader.name])
            for reader in after
        )  # fmt: skip
        weighted[node.name] = any(
            multiply_adds(index, reader) > 0 or weighted[reader.name] for reader in after
        )
    return {n for n, yes in products.items() if yes}, {n for n, yes in weighted.items() if yes}


def _is_product(index: GraphIndex, node: onnx.NodeProto) -> bool:
    return node.op_type in ("MatMul", "Einsum") and len(index.data_inputs(node)) == 2
