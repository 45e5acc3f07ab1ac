"""Reader of exported graphs, and the checks that later steps rely on.

One input (1, H, W, 3) uint8 RGB, one output (1, D) float32, static shapes, finite weights, known
operators, and a unique name on every node. A part of a network that is cut at early exits has one
tensor in and one out as well, of any shape.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgevpr.errors import CorruptArtifactError, NumericsError, TargetError
from edgevpr.printable import counted

#: Operator domains that every runtime we compile for reads.
DOMAINS = ("", "ai.onnx")
_EXPECTED = (
    "expected one input (1, H, W, 3) uint8 and one output (1, D) float32 of fixed shapes, or one "
    "tensor (1, ...) in and one out for a part of a network"
)


@dataclass(frozen=True)
class GraphSignature:
    """Names and shapes at the two ends of a graph."""

    input: str
    output: str
    #: (1, H, W, 3)
    input_shape: tuple[int, ...]
    #: D
    dim: int


@dataclass(frozen=True)
class TensorEnds:
    """Names, shapes and numpy's types at the two ends of a graph or of a part of one."""

    input: str
    output: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_type: str
    output_type: str


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an exported graph and check it.

    Raises:
        CorruptArtifactError: it is not ONNX, or has another signature.
        NumericsError: a weight is NaN.
        TargetError: an operator that ONNX does not define; named with its node.
    """
    model = load_part(path)
    signature(model)
    return model


def load_part(path: Path) -> onnx.ModelProto:
    """Read an exported part of a network, with one tensor in and one out, and check it.

    Raises:
        CorruptArtifactError, NumericsError, TargetError: as ``load_graph``.
    """
    try:
        model = onnx.load(str(path))
    except FileNotFoundError:
        raise CorruptArtifactError(
            f"found no graph at {path}, expected an ONNX file: run edgevpr compile MODEL, which "
            "exports it"
        ) from None
    except Exception as error:  # protobuf's errors have no common base
        raise CorruptArtifactError(
            f"found {path}, which cannot be read ({_first_line(error)}), expected an ONNX file: "
            "run edgevpr compile MODEL again"
        ) from error
    tensor_ends(model)
    check_operators(model)
    check_weights(model)
    return name_nodes(model)


def tensor_ends(model: onnx.ModelProto) -> TensorEnds:
    """Names, shapes and types of the ends of a graph, whatever they are.

    Raises:
        CorruptArtifactError: more than one input or output, no batch of 1, a dynamic shape, or a
            type other than uint8, float16 and float32.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    outputs = list(model.graph.output)
    if len(inputs) != 1 or len(outputs) != 1:
        raise CorruptArtifactError(
            f"found a graph with {counted(len(inputs), 'input')} and "
            f"{counted(len(outputs), 'output')}, {_EXPECTED}: run "
            "edgevpr compile MODEL again"
        )
    found = [value.type.tensor_type for value in (inputs[0], outputs[0])]
    shapes = [tuple(d.dim_value for d in end.shape.dim) for end in found]
    types = [onnx.TensorProto.DataType.Name(end.elem_type).lower() for end in found]
    types = ["float32" if name == "float" else name for name in types]
    good = all(shape and shape[0] == 1 and min(shape) > 0 for shape in shapes)
    if not good or not set(types) <= {"uint8", "float16", "float32"}:
        raise CorruptArtifactError(
            f"found a graph that takes {types[0]} {shapes[0]} and gives {types[1]} {shapes[1]}, "
            f"{_EXPECTED}: run edgevpr compile MODEL again"
        )
    return TensorEnds(inputs[0].name, outputs[0].name, shapes[0], shapes[1], types[0], types[1])


def signature(model: onnx.ModelProto) -> GraphSignature:
    """Names and shapes of a whole graph's ends.

    Raises:
        CorruptArtifactError: more than one input or output, another type, or a dynamic shape.
    """
    ends = tensor_ends(model)
    shapes = (ends.input_shape, ends.output_shape)
    types = (ends.input_type, ends.output_type)
    sound = [len(shape) for shape in shapes] == [4, 2] and ends.input_shape[3] == 3
    if types != ("uint8", "float32") or not sound:
        raise CorruptArtifactError(
            f"found a graph that takes {types[0]} {shapes[0]} and gives {types[1]} {shapes[1]}, "
            f"{_EXPECTED}: run edgevpr compile MODEL again"
        )
    return GraphSignature(ends.input, ends.output, shapes[0], shapes[1][1])


def check_operators(model: onnx.ModelProto) -> None:
    """Raise TargetError for the first operator that ONNX itself does not define."""
    version = opset(model)
    for node in model.graph.node:
        known = node.domain in DOMAINS and onnx.defs.has(node.op_type, version, "")
        if not known:
            operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            raise TargetError(
                f"found operator {operator} in node {node.name!r}, expected one that opset "
                f"{version} of ONNX defines: replace that layer and run edgevpr compile MODEL again"
            )


def check_weights(model: onnx.ModelProto) -> None:
    """Raise NumericsError if a weight is NaN. (An infinity may be an attention mask.)"""
    for tensor in model.graph.initializer:
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
            values = numpy_helper.to_array(tensor)
            bad = int(np.isnan(values).sum())
            if bad:
                raise NumericsError(
                    f"found {bad} NaN of {values.size} values in weight {tensor.name!r}, expected "
                    "numbers: run edgevpr train IMAGES again with a lower --lr"
                )


def name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every node a unique name, so that rules and messages can refer to it."""
    taken: set[str] = set()
    for i, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{i}_{node.name}".rstrip("_")
        taken.add(node.name)
    return model


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operator set that the graph was written for."""
    return max(int(entry.version) for entry in model.opset_import if entry.domain in DOMAINS)


def node_counts(model: onnx.ModelProto) -> dict[str, int]:
    """Operator -> how many, the most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
