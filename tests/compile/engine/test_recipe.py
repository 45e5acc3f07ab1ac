"""Recipes: flags by TensorRT release, and graphs that are in the bundle."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import sha256_file
from edgevpr.compile.board_graphs import save_sharing
from edgevpr.compile.engine.builder import Order, build_engine
from edgevpr.compile.engine.recipe import (
    RECIPE,
    Graph,
    PrecisionGraphs,
    Recipe,
    make_recipe,
    variant_for,
)
from edgevpr.compile.engine.releases import dialect_of
from edgevpr.compile.graph.opset17 import to_opset_17
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.graph.signature import opset
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.device.targets import load_target
from edgevpr.errors import TargetError

GRAPHS = {"typed": Graph("model.onnx", "a" * 64), "flags": Graph("model-fp32.onnx", "b" * 64)}
NODES = ["norm", "soft max"]
VERSIONS = ("8.6.2", "10.3.0", "11.4.0")


def variants(precision: str) -> list[tuple[str, list[str], list[str]]]:
    recipe = make_recipe(
        load_target("jetson-orin"), precision, {precision: PrecisionGraphs(GRAPHS, NODES)}
    )
    found = [variant_for(recipe.steps[0], dialect_of("tensorrt", v)) for v in VERSIONS]
    return [(v.graph.file, v.network_flags, v.builder_flags) for v in found]


def test_flags_by_release() -> None:
    """8.6 takes flags and constraints, 10.3 a strongly typed network, 11 neither."""
    typed = [
        ("model.onnx", ["EXPLICIT_BATCH", "STRONGLY_TYPED"], []),
        ("model.onnx", [], []),
    ]
    obey = "OBEY_PRECISION_CONSTRAINTS"
    explicit = ["EXPLICIT_BATCH"]
    assert variants("fp32") == [("model-fp32.onnx", explicit, []), *typed]
    assert variants("fp16") == [("model-fp32.onnx", explicit, ["FP16", obey]), *typed]
    assert variants("int8") == [("model-fp32.onnx", explicit, ["FP16", "INT8", obey]), *typed]


def test_trtexec_has_the_same_flags() -> None:
    """Names with blanks are quoted."""
    recipe = make_recipe(
        load_target("jetson-orin"), "int8", {"int8": PrecisionGraphs(GRAPHS, NODES)}
    )
    (step,) = recipe.steps
    old, ten, eleven = (variant_for(step, dialect_of("tensorrt", v)).trtexec for v in VERSIONS)
    for part in ("--fp16", "--int8", "--precisionConstraints=obey", "--onnx=model-fp32.onnx"):
        assert part in old
    assert "'--layerPrecisions=norm:fp32,soft max:fp32'" in old
    assert "--stronglyTyped" in ten
    assert "--int8" not in ten
    assert "--stronglyTyped" not in eleven


def test_a_network_too_new_for_release_8() -> None:
    """Without a graph in old operators there is no variant for it, and an error."""
    source = PrecisionGraphs({"typed": GRAPHS["typed"]}, [])
    (step,) = make_recipe(load_target("jetson-orin"), "fp16", {"fp16": source}).steps
    assert [v.versions for v in step.variants if not v.dla] == [">=10.0,<11.0", ">=11.0,<12.0"]
    with pytest.raises(TargetError, match=r"expected >=10\.0,<11\.0, .*JetPack"):
        variant_for(step, dialect_of("tensorrt", "8.6.2"))


def test_opset_17_is_the_same_network(clean: onnx.ModelProto, images: CalibrationImages) -> None:
    """Descriptors stay the same, reductions included."""
    older = to_opset_17(clean)
    assert older is not None
    assert opset(older) == 17
    assert [n.name for n in older.graph.node] == [n.name for n in clean.graph.node]
    difference = describe(older, images.held_out) - describe(clean, images.held_out)
    assert np.abs(difference).max() < 1e-6


def test_the_bundle_has_what_its_recipe_names(compiled: Callable[..., Path]) -> None:
    """Graph files by hash, golden vectors, FP32 nodes that exist in the graph for release 8."""
    bundle = open_artifact(compiled("jetson-orin", "int8"), "bundle")
    recipe = bundle.read(RECIPE, Recipe)
    assert recipe.sm == 87
    assert recipe.jetpacks["6.1"] == "10.3"
    assert [step.precision for step in recipe.steps] == ["int8", "fp16", "fp32"]
    for step in recipe.steps:
        files = {variant.graph.file for variant in step.variants}
        for variant in step.variants:
            assert sha256_file(bundle.file(variant.graph.file)) == variant.graph.sha256
        assert len(files) == {"int8": 2, "fp16": 2, "fp32": 1}[step.precision]
    for step, file in zip(recipe.steps, ("model-int8-flags.onnx", "model-fp32.onnx"), strict=False):
        names = {n.name for n in onnx.load(str(bundle.file(file))).graph.node}
        assert step.fp32_nodes
        assert set(step.fp32_nodes) <= names
    assert recipe.steps[1].min_cosine == 0.999
    assert len(np.load(bundle.file(recipe.golden_inputs))) == 8
    assert not bundle.manifest.files.keys() & {"engines"}


def test_safer_graphs_share_their_weights(compiled: Callable[..., Path]) -> None:
    """INT8 with Q/DQ and FP32 hold the same FP32 weights, stored once."""
    bundle = open_artifact(compiled("jetson-orin", "int8"), "bundle")
    sizes = {name: entry.size for name, entry in bundle.manifest.files.items()}
    half, full = "model-fp16.onnx", "model-fp32.onnx"
    weights = {name: _weights(bundle.file(name)) for name in (half, full, "model-int8-flags.onnx")}
    assert sizes["weights.bin"] < 1.1 * (weights[half] + weights[full])
    assert weights["model-int8-flags.onnx"] > 0.9 * weights[full]


def test_shared_weights_are_the_networks_own(
    clean: onnx.ModelProto, images: CalibrationImages, tmp_path: Path
) -> None:
    save_sharing(tmp_path, {"a.onnx": clean, "b.onnx": clean})
    assert (tmp_path / "a.onnx").stat().st_size < 0.5 * len(clean.SerializeToString())
    loaded = onnx.load(str(tmp_path / "b.onnx"))
    assert np.array_equal(describe(loaded, images.held_out), describe(clean, images.held_out))
    assert (tmp_path / "weights.bin").stat().st_size < 1.05 * _weights(tmp_path / "a.onnx")


def _weights(file: Path) -> int:
    tensors = onnx.load(str(file)).graph.initializer
    return sum(len(onnx.numpy_helper.to_array(t).tobytes()) for t in tensors)


@pytest.mark.parametrize("file", ["model.onnx", "model-fp16.onnx", "model-fp32.onnx"])
def test_tensorrt_reads_the_graphs_of_an_int8_bundle(
    compiled: Callable[..., Path], file: str
) -> None:
    """Shared weights and old operators, through the parser of a real, strongly typed release."""
    pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    graph = compiled("jetson-orin", "int8") / file
    precision = {"model.onnx": "int8", "model-fp16.onnx": "fp16", "model-fp32.onnx": "fp32"}[file]
    engine = build_engine("tensorrt-rtx", Order(graph, precision, 89))
    assert engine.layers is not None
    assert engine.layers.precisions.keys() >= {precision}
