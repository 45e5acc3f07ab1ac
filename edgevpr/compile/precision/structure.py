"""Rules for the nodes that stay in FP32 and the layers worth INT8, from the graph's structure.

No rule names a network or a layer: it looks at what a node computes and what feeds it.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from edgevpr.int8_rule import INT8_INTENSITY, INT8_ROWS

#: Operators whose statistics, exponentials or squares leave FP16's range or lose its precision.
FP32_OPERATORS = frozenset(
    {
        "Softmax", "LogSoftmax", "LayerNormalization", "GroupNormalization",
        "InstanceNormalization", "RMSNormalization", "MeanVarianceNormalization",
        "LpNormalization", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum",
        "ReduceLogSumExp", "Exp", "Log", "Pow", "Sqrt", "Reciprocal",
    }
)  # fmt: skip
#: Operators that hand a value on, rearranged or shifted, and do not multiply activations.
_PASS_ON = frozenset(
    {
        "Slice", "Gather", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Expand",
        "Cast", "Identity", "Pad", "Add", "Sub", "Neg", "Clip", "Max", "Min",
        "ReduceSum", "ReduceMean", "ReduceMax", "ReduceL1", "ReduceL2",
    }
)  # fmt: skip


@dataclass(frozen=True)
class WeightedLayer:
    """A convolution or matrix product with constant weights."""

    name: str
    operator: str
    #: multiply-adds of one inference.
    macs: int
    #: multiply-adds per element of its input and output.
    intensity: float


class GraphIndex:
    """Look-ups over a graph with inferred shapes: producers, weights, shapes, constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self.producer = {name: node for node in graph.node for name in node.output if name}
        self.weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self.images = {
            value.name
            for value in graph.input
            if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        }
        values = [*graph.value_info, *graph.input, *graph.output]
        self.shapes = {
            value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
            for value in values
        }
        # An exporter may leave weights as Constant nodes, or reshaped ones; both are no data.
        self.constants = set(self.weights)
        for node in graph.node:
            if all(name in self.constants for name in node.input if name):
                self.constants.update(node.output)

    def data_inputs(self, node: onnx.NodeProto) -> list[str]:
        """Inputs that depend on the image."""
        return [name for name in node.input if name and name not in self.constants]

    def size(self, name: str) -> int:
        """Elements of a tensor; 0 when its shape is not known."""
        shape = self.shapes.get(name)
        return int(np.prod(shape)) if shape and min(shape) > 0 else 0


def fp32_islands(model: onnx.ModelProto) -> dict[str, str]:
    """Name -> reason of every node that stays in FP32 in an FP16 graph.

    1. Operators of ``FP32_OPERATORS``: norms, softmax, their exponentials and roots.
    2. Quotients of activations, with all between them and the layers they come from: the final
       L2 norm, and the division of linear attention (EfficientViT's LiteMLA) together with the
       products of activations that it divides, both of which overflow FP16.
    """
    index = GraphIndex(model)
    islands: dict[str, str] = {}
    for node in index.nodes:
        if node.op_type in FP32_OPERATORS and index.data_inputs(node):
            islands[node.name] = f"{node.op_type}: range or precision"
        if node.op_type == "Div" and node.input[1] not in index.constants:
            islands[node.name] = "quotient of activations"
            seen: set[str] = set()
            for name in index.data_inputs(node):
                _walk_back(index, name, islands, seen)
    return islands


def _walk_back(index: GraphIndex, tensor: str, islands: dict[str, str], seen: set[str]) -> None:
    """Add the nodes between a quotient and its sources, products of activations included."""
    node = index.producer.get(tensor)
    if node is None or node.name in seen:
        return
    seen.add(node.name)
    inputs = index.data_inputs(node)
    if node.op_type == "MatMul" and len(inputs) == 2:
        islands[node.name] = "product of activations under a quotient"
    elif node.op_type in _PASS_ON:
        islands.setdefault(node.name, "between a quotient and its sources")
    else:
        return
    for name in inputs:
        _walk_back(index, name, islands, seen)


def weighted_layers(model: onnx.ModelProto) -> list[WeightedLayer]:
    """Dense convolutions and matrix products with constant weights, with what they cost.

    Depthwise and grouped convolutions are left out: they move more than they multiply.
    """
    index = GraphIndex(model)
    layers = []
    for node in index.nodes:
        if node.op_type not in ("Conv", "MatMul", "Gemm") or len(node.input) < 2:
            continue
        weight = index.weights.get(node.input[1])
        source, sink = index.size(node.input[0]), index.size(node.output[0])
        if weight is None or not source or not sink or node.input[0] in index.constants:
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Conv":
            if attributes.get("group", 1) != 1:
                continue
            depth = int(np.prod(weight[1:]))
        else:
            # A and B of Gemm may come transposed; of MatMul they may not.
            shape = index.shapes[node.input[0]]
            depth = shape[0] if attributes.get("transA", 0) else shape[-1]
            if source // depth < INT8_ROWS:
                continue
        macs = depth * sink
        layers.append(WeightedLayer(node.name, node.op_type, macs, macs / (source + sink)))
    return layers


def int8_layers(model: onnx.ModelProto) -> list[WeightedLayer]:
    """The layers worth INT8: enough arithmetic for each activation they read and write.

    Not among them is a layer that reads the image itself: of all layers of a trained ResNet-18
    it cost the most, 2.8 times the error of the next.
    """
    index = GraphIndex(model)
    nodes = {node.name: node for node in index.nodes}
    return [
        layer
        for layer in weighted_layers(model)
        if layer.intensity >= INT8_INTENSITY and not reads_image(index, nodes[layer.name])
    ]


def reads_image(index: GraphIndex, layer: onnx.NodeProto) -> bool:
    """Nothing with weights of its own lies between the image and this layer.

    A part of a network that reads an earlier part's state reads no image.
    """
    tensor = layer.input[0]
    while (node := index.producer.get(tensor)) is not None:
        inputs = index.data_inputs(node)
        if node.op_type not in (_PASS_ON | {"Mul", "Div"}) or len(inputs) != 1:
            return False
        tensor = inputs[0]
    return tensor in index.images
