"""A restricted graph equals one quantized in fewer layers."""

import numpy as np
import onnx
import pytest

from edgevpr.compile.auto.groups import layer_groups
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.compile.precision.cpu_graph import quantize_cpu
from edgevpr.compile.precision.modelopt import quantize_gpu
from edgevpr.compile.precision.qdq import quantized_layers, release_bystanders, restrict
from edgevpr.compile.precision.structure import int8_layers

QUANTIZERS = {"cpu": (quantize_cpu, True), "gpu": (quantize_gpu, False)}


@pytest.mark.parametrize("name", QUANTIZERS)
def test_fewer_layers_without_calibrating_again(
    name: str, clean: onnx.ModelProto, images: CalibrationImages
) -> None:
    """So one calibration serves every assignment of a search."""
    quantize, outputs = QUANTIZERS[name]
    every = [node for group in layer_groups(clean) for node in group.nodes]
    few = [layer.name for layer in int8_layers(clean)][:6]
    full = quantize(clean, images.calibration[:12], every)
    # What a quantizer skipped must not be called INT8: modelopt leaves single rows alone.
    taken = quantized_layers(full, every)
    assert set(few) <= taken
    grouped = [node for group in layer_groups(clean, among=taken) for node in group.nodes]
    assert set(grouped) == taken
    assert ("projection.gemm" in taken) == (name == "cpu")
    direct = release_bystanders(quantize(clean, images.calibration[:12], few), few)
    found = restrict(full, clean, few, outputs=outputs)
    onnx.checker.check_model(found)
    probes = images.held_out[:3]
    np.testing.assert_allclose(describe(found, probes), describe(direct, probes), atol=1e-6)
    none = restrict(full, clean, [], outputs=outputs)
    assert not any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in none.graph.node)
    assert len(none.graph.node) == len(clean.graph.node)
    np.testing.assert_allclose(describe(none, probes), describe(clean, probes), atol=1e-6)
