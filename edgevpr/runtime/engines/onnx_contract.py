"""Contract of a bundle's ONNX graphs, checked on their bytes before ONNX Runtime sees them.

One uint8 image in, one float32 descriptor out (of a bundle with early exits, one tensor in and one
out), fixed shapes, plain operators: no sub-graphs (Loop, If, Scan), functions, foreign operators or
data outside the file. The protobuf is walked here, as a device has no onnx package; field numbers
are those of onnx.proto3.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgevpr.errors import CorruptArtifactError
from edgevpr.printable import counted

#: ONNX's own operators, and ONNX Runtime's for quantized graphs.
DOMAINS = ("", "ai.onnx", "com.microsoft")
#: Most nodes of a graph, bytes of a name, and values of its input or output.
MOST_NODES, MOST_NAME, MOST_INPUT = 100_000, 4096, 1 << 28
#: ONNX's element types, as far as graphs pass them on, in numpy's names.
_TYPES = {1: "float32", 2: "uint8", 10: "float16"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SUBGRAPHS = ("Loop", "If", "Scan", "SequenceMap")


@dataclass(frozen=True)
class GraphEnds:
    """Input and output of a graph: names, shapes and numpy's names of their types."""

    input: str
    output: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_type: str = "uint8"
    output_type: str = "float32"

    def __str__(self) -> str:
        return (
            f"{self.input} {self.input_shape} {self.input_type} to {self.output} "
            f"{self.output_shape} {self.output_type}"
        )


class _Malformed(ValueError):
    """The bytes are no graph of the contract."""


def check_graph(data: bytes, path: Path) -> GraphEnds:
    """Input and output of a graph that keeps the contract.

    Args:
        data: a serialized ONNX model.
        path: where it is from, for messages.

    Raises:
        CorruptArtifactError: it is no ONNX model, or breaks the contract.
    """
    try:
        ends = _model(memoryview(data))
        _check_image(ends)
        return ends
    except _Malformed as error:
        raise CorruptArtifactError(
            f"found {path} {error}, expected an ONNX graph from one image (1, H, W, 3) uint8 to "
            "one descriptor (1, d) float32 of plain operators: run edgevpr compile MODEL again"
        ) from None


def check_part(data: bytes, path: Path) -> GraphEnds:
    """Input and output of one of several graphs that are run one after another.

    Args:
        data, path: as of ``check_graph``.

    Raises:
        CorruptArtifactError: it is no ONNX model, or breaks the contract.
    """
    try:
        return _model(memoryview(data))
    except _Malformed as error:
        raise CorruptArtifactError(
            f"found {path} {error}, expected an ONNX graph from one tensor to one tensor, both of "
            "fixed shapes, of plain operators: run edgevpr compile MODEL again"
        ) from None


def _model(data: memoryview) -> GraphEnds:
    graphs = []
    for number, value in _fields(data):
        if number == 7:
            graphs.append(_message(value))
        elif number == 25:
            raise _Malformed("with functions of its own")
        elif number == 20:
            raise _Malformed("with training information")
    if len(graphs) != 1:
        raise _Malformed("that is no ONNX model" if not graphs else "with several graphs")
    return _graph(graphs[0])


def _graph(data: memoryview) -> GraphEnds:
    nodes, stored = 0, set()
    inputs, outputs = [], []
    for number, value in _fields(data):
        if number == 1:
            nodes += 1
            if nodes > MOST_NODES:
                raise _Malformed(f"with more than {MOST_NODES} nodes")
            _check_node(_message(value))
        elif number == 5:
            stored.add(_check_tensor(_message(value)))
        elif number == 11:
            inputs.append(_end(_message(value)))
        elif number == 12:
            outputs.append(_end(_message(value)))
    inputs = [end for end in inputs if end[0] not in stored]
    if len(inputs) != 1 or len(outputs) != 1:
        raise _Malformed(
            f"with {counted(len(inputs), 'input')} and {counted(len(outputs), 'output')}"
        )
    (input_name, input_type, input_shape), (output_name, output_type, output_shape) = (
        inputs[0],
        outputs[0],
    )
    for what, kind, shape in (
        ("input", input_type, input_shape),
        ("output", output_type, output_shape),
    ):
        values = 1
        for side in shape:
            values *= max(side, 1)
        if kind not in _TYPES or not shape or min(shape) < 1 or values > MOST_INPUT:
            raise _Malformed(f"with the {what} {shape} of ONNX type {kind}")
    return GraphEnds(
        input_name,
        output_name,
        input_shape,
        output_shape,
        _TYPES[input_type],
        _TYPES[output_type],
    )


def _check_image(ends: GraphEnds) -> None:
    """Raise unless a graph is from an image to a descriptor."""
    shape = ends.input_shape
    if ends.input_type != "uint8" or len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        raise _Malformed(f"with the input {shape} of {ends.input_type}")
    shape = ends.output_shape
    if ends.output_type != "float32" or len(shape) != 2 or shape[0] != 1:
        raise _Malformed(f"with the output {shape} of {ends.output_type}")


def _check_node(data: memoryview) -> None:
    operator = domain = ""
    for number, value in _fields(data):
        if number == 4:
            operator = _text(value)
        elif number == 7:
            domain = _text(value)
        elif number == 5:
            _check_attribute(_message(value))
    if operator in _SUBGRAPHS:
        raise _Malformed(f"with the operator {operator}")
    if domain not in DOMAINS:
        raise _Malformed(f"with the operator {operator} of {domain[:60]!r}")


def _check_attribute(data: memoryview) -> None:
    for number, value in _fields(data):
        if number in (6, 11):
            raise _Malformed("with a graph inside a node")
        if number in (5, 10):
            _check_tensor(_message(value))


def _check_tensor(data: memoryview) -> str:
    """The name of a tensor, whose data must be in the graph."""
    name = ""
    for number, value in _fields(data):
        if number == 8:
            name = _text(value)
        elif number == 13 or (number == 14 and value != 0):
            raise _Malformed("with data outside the file")
    return name


def _end(data: memoryview) -> tuple[str, int, tuple[int, ...]]:
    """Name, element type and shape of an input or output; -1 for a size that is not fixed."""
    name, kind = "", 0
    shape: tuple[int, ...] = ()
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for type_number, tensor in _fields(_message(value)):
                if type_number == 1:
                    kind, shape = _tensor_type(_message(tensor))
    return name, kind, shape


def _tensor_type(data: memoryview) -> tuple[int, tuple[int, ...]]:
    kind, shape = 0, []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 2:
            shape = [_side(_message(side)) for n, side in _fields(_message(value)) if n == 1]
    return kind, tuple(shape)


def _side(data: memoryview) -> int:
    side = -1
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            side = value if value < 1 << 31 else -1
    return side


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field number and value of each field of a message: a number, or the bytes of the rest."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise _Malformed("that is no ONNX model")
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        size = 8 if wire == _FIXED64 else 4
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire not in (_FIXED64, _FIXED32):
            raise _Malformed("that is no ONNX model")
        if size > end - at:
            raise _Malformed("that is cut short or no ONNX model")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Malformed("that is cut short or no ONNX model")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        shift += 7


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _Malformed("that is no ONNX model")
    return value


def _text(value: int | memoryview) -> str:
    raw = _message(value)
    if len(raw) > MOST_NAME:
        raise _Malformed(f"with a name of {len(raw)} bytes")
    return bytes(raw).decode("utf-8", "replace")
