"""What a board is told: the right flags for each TensorRT, graphs that are really there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgevpr import artifact
from edgevpr.compile.calibration import CalibrationImages
from edgevpr.compile.dialects import dialect_of
from edgevpr.compile.downgrade import to_opset_17
from edgevpr.compile.graph import opset
from edgevpr.compile.recipe import RECIPE, Graph, Recipe, make_recipe, variant_for
from edgevpr.compile.reference import describe
from edgevpr.errors import TargetError
from edgevpr.targets import load_target

GRAPHS = {"typed": Graph("model.onnx", "a" * 64), "flags": Graph("model-flags.onnx", "b" * 64)}
VERSIONS = ("8.6.2", "10.3.0", "11.4.0")


def variants(precision: str) -> list[tuple[str, list[str], list[str]]]:
    recipe = make_recipe(load_target("jetson-orin"), precision, GRAPHS, ["norm", "soft max"])
    found = [variant_for(recipe, dialect_of("tensorrt", v)) for v in VERSIONS]
    return [(v.graph.file, v.network_flags, v.builder_flags) for v in found]


def test_flags_by_release() -> None:
    """8.6 wants flags and constraints, 10.3 a strongly typed network, 11 nothing."""
    typed = [
        ("model.onnx", ["EXPLICIT_BATCH", "STRONGLY_TYPED"], []),
        ("model.onnx", [], []),
    ]
    obey = "OBEY_PRECISION_CONSTRAINTS"
    explicit = ["EXPLICIT_BATCH"]
    assert variants("fp32") == [("model-flags.onnx", explicit, []), *typed]
    assert variants("fp16") == [("model-flags.onnx", explicit, ["FP16", obey]), *typed]
    assert variants("int8") == [("model-flags.onnx", explicit, ["FP16", "INT8", obey]), *typed]


def test_trtexec_says_the_same() -> None:
    """Whoever builds by hand must get the same engine, names with blanks quoted."""
    recipe = make_recipe(load_target("jetson-orin"), "int8", GRAPHS, ["norm", "soft max"])
    old, ten, eleven = (variant_for(recipe, dialect_of("tensorrt", v)).trtexec for v in VERSIONS)
    for part in ("--fp16", "--int8", "--precisionConstraints=obey", "--onnx=model-flags.onnx"):
        assert part in old
    assert "'--layerPrecisions=norm:fp32,soft max:fp32'" in old
    assert "--stronglyTyped" in ten
    assert "--int8" not in ten
    assert "--stronglyTyped" not in eleven


def test_a_network_too_new_for_release_8() -> None:
    """Without a graph in old operators, the recipe has no variant for it and says why."""
    recipe = make_recipe(load_target("jetson-orin"), "fp16", {"typed": GRAPHS["typed"]}, [])
    assert len(recipe.variants) == 2
    with pytest.raises(TargetError, match=r"expected >=10\.0,<11\.0, .*JetPack"):
        variant_for(recipe, dialect_of("tensorrt", "8.6.2"))


def test_opset_17_is_the_same_network(clean: onnx.ModelProto, images: CalibrationImages) -> None:
    """Hand-written conversion below 18: a lost axis of a reduction would change the answer."""
    older = to_opset_17(clean)
    assert older is not None
    assert opset(older) == 17
    assert [n.name for n in older.graph.node] == [n.name for n in clean.graph.node]
    difference = describe(older, images.held_out) - describe(clean, images.held_out)
    assert np.abs(difference).max() < 1e-6


def test_the_bundle_has_what_its_recipe_names(compiled: Callable[..., Path]) -> None:
    """Graph files by hash, golden vectors, FP32 nodes that exist in the graph for release 8."""
    bundle = artifact.open_artifact(compiled("jetson-orin", "int8"), "bundle")
    recipe = bundle.read(RECIPE, Recipe)
    assert recipe.sm == 87
    assert recipe.jetpacks["6.1"] == "10.3"
    for variant in recipe.variants:
        file = bundle.file(variant.graph.file)
        assert artifact.sha256_file(file) == variant.graph.sha256
    names = {n.name for n in onnx.load(str(bundle.file("model-flags.onnx"))).graph.node}
    assert recipe.fp32_nodes
    assert set(recipe.fp32_nodes) <= names
    assert len(np.load(bundle.file(recipe.golden_inputs))) == 8
    assert recipe.min_cosine is None
    assert not bundle.manifest.files.keys() & {"engines"}
