"""FP16 graphs on a CPU: rounded and overflowing as on a GPU."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevpr.compile.graph.explicit_half import explicit_half
from edgevpr.compile.graph.reference import describe


def graph_of(nodes: list[onnx.NodeProto], ends: tuple[int, int]) -> onnx.ModelProto:
    values = [
        helper.make_tensor_value_info(name, kind, [1, 3])
        for name, kind in zip("xy", ends, strict=True)
    ]
    weights = [numpy_helper.from_array(np.float16(w), n) for n, w in (("a", 3e4), ("b", 1 / 3e4))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


X = np.array([[1.0001, 2.0, 3.0]], np.float32)
SCALED = [
    helper.make_node("Mul", ["h", "a"], ["p"]),
    helper.make_node("Relu", ["p"], ["q"]),
]


def test_every_value_is_rounded() -> None:
    """Against numpy in FP16; 3 x 3e4 overflows, which FP32 between the nodes would hide."""
    down = helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16)
    back = helper.make_node("Mul", ["q", "b"], ["r"])
    up = helper.make_node("Cast", ["r"], ["y"], to=TensorProto.FLOAT)
    model = graph_of([down, *SCALED, back, up], (TensorProto.FLOAT, TensorProto.FLOAT))
    with np.errstate(over="ignore"):
        expected = (X.astype(np.float16) * np.float16(3e4)) * np.float16(1 / 3e4)
    found = describe(model, X, as_written=True)
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    assert np.isinf(found[0, 2])


def test_half_ends() -> None:
    """A part of a network that reads and writes FP16 rounds what it reads and writes."""
    last = helper.make_node("Mul", ["q", "b"], ["y"])
    first = helper.make_node("Neg", ["x"], ["n"])
    again = helper.make_node("Neg", ["n"], ["h"])
    model = graph_of([first, again, *SCALED, last], (TensorProto.FLOAT16, TensorProto.FLOAT16))
    onnx.checker.check_model(explicit_half(model), full_check=True)
    with np.errstate(over="ignore"):
        expected = (X.astype(np.float16) * np.float16(3e4)) * np.float16(1 / 3e4)
    found = describe(model, X, as_written=True)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_a_graph_without_half_stays() -> None:
    model = graph_of([helper.make_node("Neg", ["x"], ["y"])], (TensorProto.FLOAT,) * 2)
    del model.graph.initializer[:]
    assert explicit_half(model) is model
