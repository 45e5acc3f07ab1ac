"""Rounding to FP16 changes the chosen nodes alone."""

import numpy as np
import onnx

from edgevpr.compile.graph.reference import describe
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.compile.precision.half import rounded_to_half


def test_the_last_layer_rounded(clean: onnx.ModelProto, images: CalibrationImages) -> None:
    """Input, weights and output of one product, against numpy."""
    probes = images.held_out[:2]
    seen = onnx.ModelProto()
    seen.CopyFrom(clean)
    gemm = next(n for n in clean.graph.node if n.name == "projection.gemm")
    value = next(v for v in clean.graph.value_info if v.name == gemm.input[0])
    seen.graph.output[0].CopyFrom(value)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in clean.graph.initializer}
    x, matrix, bias = describe(seen, probes), weights[gemm.input[1]], weights[gemm.input[2]]
    x, matrix, bias = (a.astype(np.float16).astype(np.float32) for a in (x, matrix, bias))
    y = (x @ matrix.T + bias).astype(np.float16).astype(np.float32)
    expected = y / np.linalg.norm(y, axis=1, keepdims=True)
    found = describe(rounded_to_half(clean, ["projection.gemm"]), probes, as_written=True)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert np.abs(found - describe(clean, probes)).max() > 1e-6


def test_no_nodes_no_change(clean: onnx.ModelProto, images: CalibrationImages) -> None:
    same = rounded_to_half(clean, [])
    assert same.SerializeToString() == clean.SerializeToString()
