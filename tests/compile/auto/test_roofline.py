"""Predicted latency: order of assignments, origin of the figures."""

import onnx

from edgevpr.compile.auto.groups import layer_groups
from edgevpr.compile.auto.roofline import gpu_limits, predict_ms
from edgevpr.device.targets import load_target


def test_figures_are_the_profiles_or_called_assumed() -> None:
    """A family takes its smallest board's figures."""
    nano = gpu_limits(load_target("jetson-orin-nano-8gb"))
    assert nano.bytes_s == 68e9
    assert nano.macs["int8"] == 2 * nano.macs["fp16"] == 4 * nano.macs["fp32"]
    family = gpu_limits(load_target("jetson-orin"))
    assert "jetson-orin-nano" in family.basis
    assert "assumed" in gpu_limits(load_target("rtx-ada")).basis


def test_wider_types_cost_more(clean: onnx.ModelProto) -> None:
    """FP32 everywhere is the slowest; a boundary is not free."""
    board = gpu_limits(load_target("jetson-orin-nano-8gb"))
    fp16 = predict_ms(clean, {}, "fp16", board)
    assert 0 < fp16 < predict_ms(clean, {}, "fp32", board)
    residual = [n for g in layer_groups(clean) if g.kind == "residual" for n in g.nodes]
    assert predict_ms(clean, dict.fromkeys(residual, "int8"), "fp16", board) > fp16
