"""INT8 for the CPU: the right layers, the right types, close to FP32."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgevpr.compile.engine.parity import compare
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.compile.precision.cpu_graph import to_int8_cpu
from edgevpr.compile.precision.gpu_graph import to_int8
from edgevpr.compile.precision.structure import int8_layers
from edgevpr.errors import DataError


@pytest.fixture(scope="module")
def int8(clean: onnx.ModelProto, images: CalibrationImages) -> onnx.ModelProto:
    return to_int8_cpu(clean, images.calibration)[0]


def test_parity_with_fp32(
    clean: onnx.ModelProto, int8: onnx.ModelProto, images: CalibrationImages
) -> None:
    """Descriptors stay close to FP32's."""
    parity = compare(describe(int8, images.held_out), describe(clean, images.held_out))
    assert parity.mean_cosine > 0.95
    assert abs(parity.min_norm - 1) < 1e-5
    assert abs(parity.max_norm - 1) < 1e-5


def test_only_the_chosen_layers(clean: onnx.ModelProto, int8: onnx.ModelProto) -> None:
    """Only the layers of the INT8 rule have Q/DQ."""
    chosen = {layer.name for layer in int8_layers(clean)}
    producer = {name: node for node in int8.graph.node for name in node.output}
    seen = set()
    for node in int8.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            weight = producer.get(node.input[1])
            if weight is not None and weight.op_type == "DequantizeLinear":
                seen.add(node.name)
    assert seen == chosen


def test_weights_are_int8_per_channel_and_activations_uint8(int8: onnx.ModelProto) -> None:
    """The types that ONNX Runtime's fast kernels take; one scale a weight would cost accuracy."""
    weights = {t.name: t for t in int8.graph.initializer}
    kinds = set()
    for node in int8.graph.node:
        if node.op_type == "DequantizeLinear":
            points = weights[node.input[2]]
            kinds.add(points.data_type)
            if points.data_type == TensorProto.INT8:
                assert numpy_helper.to_array(weights[node.input[1]]).size > 1
                assert not numpy_helper.to_array(points).any()
    assert {TensorProto.INT8, TensorProto.UINT8} <= kinds


def test_the_same_images_give_the_same_graph(
    clean: onnx.ModelProto, int8: onnx.ModelProto, images: CalibrationImages
) -> None:
    """Other quantizers that ran in this process change nothing."""
    to_int8(clean, images.calibration[:8])
    again = to_int8_cpu(clean, images.calibration)[0]
    found, expected = describe(again, images.held_out), describe(int8, images.held_out)
    np.testing.assert_array_equal(found, expected)


def test_too_few_images(clean: onnx.ModelProto, images: CalibrationImages) -> None:
    """Zero and three images are refused with the parameter to pass."""
    for count in (0, 3):
        with pytest.raises(DataError, match="`calibration`"):
            to_int8_cpu(clean, images.calibration[:count])


def test_other_readers_take_the_float_tensor(clean: onnx.ModelProto, int8: onnx.ModelProto) -> None:
    """Residual additions read the tensor before its Q/DQ."""
    chosen = {layer.name for layer in int8_layers(clean)}
    producer = {name: node for node in int8.graph.node for name in node.output}
    for node in int8.graph.node:
        if node.name in chosen or node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for name in node.input:
            pair = producer.get(name)
            if pair is not None and pair.op_type == "DequantizeLinear":
                first = producer[pair.input[0]]
                assert producer[first.input[0]].name in chosen, node.name
