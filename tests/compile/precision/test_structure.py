"""Structural rules: FP32 islands and INT8 layers."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevpr.compile.graph.signature import name_nodes
from edgevpr.compile.precision.structure import fp32_islands, int8_layers, weighted_layers


def operators(model: onnx.ModelProto, names: object) -> list[str]:
    return [n.op_type for n in model.graph.node if n.name in names]  # type: ignore[operator]


def test_islands_of_the_small_network(clean: onnx.ModelProto) -> None:
    """Linear attention's two products and its division, every norm and softmax, both L2 norms."""
    islands = fp32_islands(clean)
    found = operators(clean, islands)
    everywhere = [n.op_type for n in clean.graph.node]
    for operator in ("Softmax", "LayerNormalization", "InstanceNormalization", "ReduceL2"):
        assert found.count(operator) == everywhere.count(operator) > 0, operator
    # The fourth division is the image's, by a constant.
    assert (found.count("Div"), everywhere.count("Div")) == (3, 4)
    assert found.count("MatMul") == 2
    products = [r for r in islands.values() if r == "product of activations under a quotient"]
    assert len(products) == 2


def test_attention_and_convolutions_are_no_islands(clean: onnx.ModelProto) -> None:
    """They run in FP16."""
    islands = fp32_islands(clean)
    assert not {"Conv", "Gemm", "Relu", "Sigmoid"} & set(operators(clean, islands))
    matmuls = [n for n in clean.graph.node if n.op_type == "MatMul" and n.name not in islands]
    assert matmuls, "the products of softmax attention stay in FP16"


def test_division_by_a_constant_is_no_quotient() -> None:
    """Normalization of the image, which divides by constants, stays in FP16."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["a", "b"], ["c"], "product"),
            helper.make_node("Div", ["c", "scale"], ["d"], "by_constant"),
        ],
        "g",
        [value("a", TensorProto.FLOAT, [1, 4, 4]), value("b", TensorProto.FLOAT, [1, 4, 4])],
        [value("d", TensorProto.FLOAT, [1, 4, 4])],
        [numpy_helper.from_array(np.float32(8), "scale")],
    )
    assert fp32_islands(helper.make_model(graph)) == {}


def test_int8_layers_of_the_small_network(clean: onnx.ModelProto) -> None:
    """No depthwise convolution, no layer on the image, no matrix-vector product, nothing thin."""
    chosen = {layer.name for layer in int8_layers(clean)}
    assert chosen
    weights = {t.name: tuple(t.dims) for t in clean.graph.initializer}
    first = next(n for n in clean.graph.node if n.op_type == "Conv")
    assert first.name not in chosen
    for node in clean.graph.node:
        if node.name in chosen:
            assert node.op_type in ("Conv", "Gemm", "MatMul")
            group = [a.i for a in node.attribute if a.name == "group"]
            assert group in ([], [1])
            assert int(np.prod(weights[node.input[1]])) >= 64 * 64
    assert "projection.gemm" not in chosen
    assert {layer.name for layer in weighted_layers(clean)} > chosen


def test_intensity_counts_what_moves() -> None:
    """1x1 convolution, 32 to 64 channels on 10x10: 32*6400 multiply-adds, 3200 + 6400 elements."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Conv", ["y", "w"], ["z"], "c")],
        "g",
        [value("x", TensorProto.FLOAT, [1, 32, 10, 10])],
        [value("z", TensorProto.FLOAT, [1, 64, 10, 10])],
        [numpy_helper.from_array(np.ones((64, 32, 1, 1), np.float32), "w")],
    )
    model = onnx.shape_inference.infer_shapes(name_nodes(helper.make_model(graph)))
    (layer,) = weighted_layers(model)
    assert layer.macs == 32 * 6400
    assert layer.intensity == 32 * 6400 / 9600
