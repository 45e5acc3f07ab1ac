"""Real TensorRT-RTX engines of each network, precision and GPU generation, inspected.

All of them with EDGEVPR_ALL_ENGINES=1, as continuous integration runs it; otherwise each network in
each precision for one generation, and each generation for some network.
"""

import functools
import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgevpr.compile.engine.builder import Order, build_engine
from edgevpr.compile.graph.fuse import clean_up
from edgevpr.compile.graph.signature import load_graph
from edgevpr.compile.precision.gpu_graph import to_fp16, to_int8
from edgevpr.device.targets import all_targets
from edgevpr.errors import TargetError

pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")

SIDE = 128
BACKBONES = ("efficientvit_b0", "mobilevitv2_050")
AGGREGATORS = {
    "boq": {"proj_channels": 64, "num_queries": 4, "num_layers": 1, "row_dim": 2},
    "salad": {"num_clusters": 4, "cluster_dim": 8, "token_dim": 8},
}
PRECISIONS = ("fp32", "fp16", "int8")
GENERATIONS = sorted(
    {
        sm
        for target in all_targets()
        if target.runtime == "tensorrt-rtx"
        for sm in (target.sm, *target.also_sm)
        if sm is not None
    }
)
ALL = [
    (backbone, aggregator, precision, sm)
    for backbone in BACKBONES
    for aggregator in AGGREGATORS
    for precision in PRECISIONS
    for sm in GENERATIONS
]
# Every (generations + 1)th: all networks and precisions, and the generations in turn.
FEW = [("efficientvit_b0", "boq"), ("mobilevitv2_050", "salad")]
SOME = [
    (*network, precision, GENERATIONS[(i + 1) % len(GENERATIONS)])
    for i, (network, precision) in enumerate((n, p) for n in FEW for p in PRECISIONS)
]
CHOSEN = ALL if os.environ.get("EDGEVPR_ALL_ENGINES") else SOME


@functools.cache
def network(backbone: str, aggregator: str) -> onnx.ModelProto:
    """A small network of the family with random weights, exported and cleaned up."""
    import logging
    import tempfile

    import torch

    from edgevpr.preprocess import Preprocess
    from edgevpr.train.networks.architecture import Architecture
    from edgevpr.train.networks.export import Deployed, _quiet
    from edgevpr.train.networks.network import Network

    torch.manual_seed(0)
    architecture = Architecture(
        backbone, out_index=2, aggregator=aggregator, aggregator_args=AGGREGATORS[aggregator]
    )
    deployed = Deployed(Network(architecture, (SIDE, SIDE)), Preprocess(SIDE, SIDE)).eval()
    example = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, _quiet(), torch.no_grad():
        program = torch.onnx.export(
            deployed, (example,), dynamo=True, opset_version=20, input_names=["images"],
            output_names=["descriptor"], verbose=False,
        )  # fmt: skip
        assert program is not None
        program.save(f"{folder}/a.onnx", external_data=False)
        exported = load_graph(Path(folder, "a.onnx"))
    logging.disable(logging.NOTSET)
    return clean_up(exported, _images()[:2])


@functools.cache
def typed(backbone: str, aggregator: str, precision: str) -> onnx.ModelProto:
    clean = network(backbone, aggregator)
    if precision == "fp32":
        return clean
    return (to_fp16 if precision == "fp16" else to_int8)(clean, _images()).graph


def _images() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2))


@pytest.mark.parametrize(("backbone", "aggregator", "precision", "sm"), CHOSEN)
def test_an_engine_of_each(
    tmp_path: Path, backbone: str, aggregator: str, precision: str, sm: int
) -> None:
    """Layers compute in the precision asked for, with the islands in FP32."""
    file = tmp_path / "model.onnx"
    onnx.save(typed(backbone, aggregator, precision), str(file))
    order = Order(file, precision, sm)
    if sm == 75 and (precision == "fp32" or backbone.startswith("efficientvit")):
        # Turing multiplies no FP32 matrices there, and LiteMLA's products must stay in FP32.
        with pytest.raises(TargetError, match="--target rtx-ampere"):
            build_engine("tensorrt-rtx", order)
        return
    engine = build_engine("tensorrt-rtx", order)
    assert len(engine.data) > 100_000
    assert engine.layers is not None
    counts = engine.layers.precisions
    if precision == "fp32":
        assert counts.keys() <= {"fp32", "other"}
    else:
        assert counts["fp16"] > 2 * counts["fp32"] > 0
        assert ("int8" in counts) == (precision == "int8")


def test_each_generation_and_precision_is_among_the_few() -> None:
    assert {sm for *_, sm in SOME} == set(GENERATIONS)
    assert {precision for *_, precision, _ in SOME} == set(PRECISIONS)
