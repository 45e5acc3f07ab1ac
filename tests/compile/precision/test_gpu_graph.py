"""FP16 and INT8 graphs for TensorRT: types, parity with FP32, overflow."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevpr.compile.engine.parity import compare
from edgevpr.compile.graph.reference import activation_peaks, describe
from edgevpr.compile.graph.signature import name_nodes, opset
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.compile.precision.gpu_graph import to_fp16, to_int8
from edgevpr.compile.precision.structure import int8_layers
from edgevpr.compile.precision.typed import TypedGraph, check_calibration
from edgevpr.errors import DataError


@pytest.fixture(scope="module")
def fp16(clean: onnx.ModelProto, images: CalibrationImages) -> TypedGraph:
    return to_fp16(clean, images.calibration)


@pytest.fixture(scope="module")
def int8(clean: onnx.ModelProto, images: CalibrationImages) -> TypedGraph:
    return to_int8(clean, images.calibration)


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Tensor name -> type, activations and weights."""
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    types = {v.name: v.type.tensor_type.elem_type for v in values}
    return types | {t.name: t.data_type for t in model.graph.initializer}


def test_fp16_keeps_the_descriptor(
    clean: onnx.ModelProto, fp16: TypedGraph, images: CalibrationImages
) -> None:
    """Run node by node as written, every rounding included; the length must stay 1."""
    found = describe(fp16.graph, images.held_out, as_written=True)
    parity = compare(found, describe(clean, images.held_out))
    assert parity.min_cosine > 0.9999  # measured: 0.99999
    assert abs(parity.min_norm - 1) < 1e-5
    assert abs(parity.max_norm - 1) < 1e-5


def test_fp16_is_fp16_and_its_islands_are_not(fp16: TypedGraph) -> None:
    """Layers are in FP16, islands in FP32."""
    types = element_types(fp16.graph)
    nodes = fp16.graph.graph.node
    kept = Counter(n.op_type for n in nodes if n.name in fp16.fp32_nodes)
    for node in nodes:
        if node.op_type in ("Conv", "Gemm"):
            assert types[node.output[0]] == TensorProto.FLOAT16, node.name
        if node.op_type in ("Softmax", "LayerNormalization", "ReduceL2"):
            assert types[node.output[0]] == TensorProto.FLOAT, node.name
    assert kept["Div"] == 3
    assert kept["MatMul"] == 2
    assert fp16.int8_nodes == []
    assert types["descriptor"] == TensorProto.FLOAT
    assert types["images"] == TensorProto.UINT8


def test_int8_quantizes_the_chosen_layers_and_no_other(
    clean: onnx.ModelProto, int8: TypedGraph, images: CalibrationImages
) -> None:
    """Each chosen layer reads a DequantizeLinear; depthwise convolutions do not."""
    chosen = {layer.name for layer in int8_layers(clean)}
    assert set(int8.int8_nodes) == chosen
    by_output = {name: n.op_type for n in int8.graph.graph.node for name in n.output}
    for node in int8.graph.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            quantized = by_output.get(node.input[0]) == "DequantizeLinear"
            assert quantized == (node.name in chosen), node.name
    parity = compare(
        describe(int8.graph, images.held_out, as_written=True), describe(clean, images.held_out)
    )
    assert parity.mean_cosine > 0.9
    assert abs(parity.min_norm - 1) < 1e-5


def test_the_flags_graph_is_fp32_with_the_same_qdq(int8: TypedGraph) -> None:
    """TensorRT 8 reads FP32 scales only, and takes FP16 from a flag."""
    types = element_types(int8.flags_graph)
    assert TensorProto.FLOAT16 not in types.values()
    count = [
        sum(n.op_type == "QuantizeLinear" for n in g.graph.node)
        for g in (int8.graph, int8.flags_graph)
    ]
    assert count[0] == count[1] > 0


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_calibration_images(
    clean: onnx.ModelProto, images: CalibrationImages, count: int
) -> None:
    with pytest.raises(DataError, match=f"found {count} calibration images, expected at least 8"):
        to_int8(clean, images.calibration[:count])
    with pytest.raises(DataError):
        check_calibration(None)


def overflowing(gain: float) -> onnx.ModelProto:
    """Linear attention on pixels times ``gain``: sums of products pass FP16's 65504."""
    value, make = helper.make_tensor_value_info, helper.make_node
    weights = {
        "gain": np.float32(gain),
        "tokens": np.array([1, 64, 3], np.int64),
        "from": np.array([0], np.int64),
        "to": np.array([2], np.int64),
        "end": np.array([3], np.int64),
        "axis": np.array([2], np.int64),
        "eps": np.float32(1e-3),
        "flat": np.array([1, 128], np.int64),
        "one": np.array([1], np.int64),
        "floor": np.float32(1e-12),
    }
    nodes = [
        make("Cast", ["images"], ["c"], to=TensorProto.FLOAT),
        make("Mul", ["c", "gain"], ["m"]),
        make("Reshape", ["m", "tokens"], ["k"]),
        make("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        make("MatMul", ["kt", "k"], ["kv"]),
        make("MatMul", ["k", "kv"], ["a"]),
        make("Slice", ["a", "from", "to", "axis"], ["top"]),
        make("Slice", ["a", "to", "end", "axis"], ["bottom"]),
        make("Add", ["bottom", "eps"], ["safe"]),
        make("Div", ["top", "safe"], ["q"]),
        make("Reshape", ["q", "flat"], ["f"]),
        make("ReduceL2", ["f", "one"], ["n"], keepdims=1),
        make("Clip", ["n", "floor"], ["nn"]),
        make("Div", ["f", "nn"], ["descriptor"]),
    ]
    graph = helper.make_graph(
        nodes,
        "overflowing",
        [value("images", TensorProto.UINT8, [1, 8, 8, 3])],
        [value("descriptor", TensorProto.FLOAT, [1, 128])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(name_nodes(model))


def test_linear_attention_does_not_overflow() -> None:
    """Plain FP16 is infinite here; the typed graph agrees with FP32."""
    model = overflowing(1.0)
    images = np.random.default_rng(0).integers(100, 256, (8, 8, 8, 3), dtype=np.uint8)
    typed = to_fp16(model, images)
    expected = describe(model, images)
    assert np.abs(describe(typed.graph, images, as_written=True) - expected).max() < 1e-3
    assert (
        Counter(n.op_type for n in typed.graph.graph.node if n.name in typed.fp32_nodes)["MatMul"]
        == 2
    )
    assert opset(typed.graph) >= 13


def test_large_activations_stay_in_fp32() -> None:
    """A node that no rule names, whose values pass 512 on the calibration images."""
    images = np.random.default_rng(0).integers(200, 256, (8, 8, 8, 3), dtype=np.uint8)
    loud, soft = (to_fp16(overflowing(gain), images) for gain in (8.0, 1 / 256))
    name = next(n.name for n in loud.graph.graph.node if n.op_type == "Mul")
    assert loud.fp32_nodes[name] == "activations up to 2040"
    assert name not in soft.fp32_nodes


def test_peaks_are_of_all_images() -> None:
    """The largest activation counts, in whichever image it is."""
    images = np.zeros((3, 8, 8, 3), np.uint8)
    images[1, 2, 3, 0] = 100
    peaks = activation_peaks(overflowing(2.0), images)
    assert (peaks["c"], peaks["m"]) == (100.0, 200.0)
    assert peaks["kv"] == 200.0**2
