"""Bundles: graph, golden vectors, engines, evidence; a failure leaves the old one."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import sha256_file
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.graph.signature import load_graph
from edgevpr.compile.pipeline import compile_model
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.compile.request import request_for
from edgevpr.compile.source import ModelSource
from edgevpr.errors import (
    CorruptArtifactError,
    DataError,
    NumericsError,
    UnknownTargetError,
    UsageError,
)
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.projection import Projection

Compiled = Callable[..., Path]


def test_a_cpu_bundle(
    compiled: Compiled, exported: Path, projection: Projection, images: CalibrationImages
) -> None:
    """The graph gives the gallery's own index descriptors, the golden ones included."""
    bundle = open_artifact(compiled("cpu", "fp32"), "bundle")
    record = bundle.read("bundle.json", BundleRecord)
    assert (record.target, record.runtime, record.precision) == ("cpu", "onnxruntime", "fp32")
    assert (record.dim, record.output_dim, record.projection) == (256, 48, "1" * 64)
    assert record.graph_sha256 == sha256_file(bundle.file("model.onnx"))
    assert bundle.space == "boq-256-0123456789ab"
    golden = np.load(bundle.file("golden_inputs.npy"))
    assert golden.shape == (8, 128, 128, 3)
    assert golden.dtype == np.uint8
    expected = projection.apply(describe(load_graph(exported), golden))
    np.testing.assert_allclose(np.load(bundle.file("golden_descriptors.npy")), expected, atol=1e-6)
    found = describe(onnx.load(str(bundle.file("model.onnx"))), golden)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_evidence_says_where_numbers_come_from(compiled: Compiled) -> None:
    """Parity and latency carry their images, device and provenance."""
    for target, precision, provenance in (
        ("cpu", "int8", "measured"),
        ("jetson-orin", "int8", "emulated"),
    ):
        bundle = open_artifact(compiled(target, precision), "bundle")
        evidence = bundle.read("bundle.json", BundleRecord).evidence
        parity = evidence["parity"]
        assert parity["provenance"] == provenance
        assert parity["images"] == 8
        assert parity["held_out"] is True
        assert "ONNX Runtime" in parity["device"]
        assert 0 < parity["min_cosine"] <= parity["mean_cosine"] <= 1
        assert evidence["extremes"]["images"] == 4
        assert evidence["extremes"]["min_cosine"] > 0.9
        assert evidence["nodes"]["exported"] > evidence["nodes"]["clean"]
        softmaxes = evidence["nodes"]["cleaned"]["Softmax"]
        assert softmaxes[0] > softmaxes[1]
        assert evidence["bytes"]["model.onnx"] > 0
        assert evidence["int8_nodes"]
        assert all(seconds >= 0 for seconds in evidence["seconds"].values())
    cpu = open_artifact(compiled("cpu", "int8"), "bundle")
    latency = cpu.read("bundle.json", BundleRecord).evidence["latency"]
    assert latency["fp32"]["p50_ms"] > 0
    assert latency["provenance"] == "measured"
    config = json.loads(cpu.file("config.json").read_text())
    assert config["versions"]["onnxruntime"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_an_engine_is_built_ahead_of_time(compiled: Compiled, precision: str) -> None:
    """Plain TensorRT bytes and a sidecar with their hash, the graph's, the GPU and the version."""
    trt = pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    bundle = open_artifact(compiled("rtx-ada", precision), "bundle")
    record = bundle.read("bundle.json", BundleRecord)
    (name,) = record.engines
    engine = bundle.file(f"engines/{name}")
    sidecar = bundle.read(f"engines/{name.removesuffix('.engine')}.json", EngineSidecar)
    assert sidecar.sha256 == sha256_file(engine)
    assert sidecar.graph_sha256 == record.graph_sha256
    assert (sidecar.sm, sidecar.runtime, sidecar.version) == (
        "sm_89", "tensorrt-rtx", trt.__version__,
    )  # fmt: skip
    assert sidecar.precision == precision
    assert engine.stat().st_size > 100_000
    if precision == "fp16":
        assert record.evidence["parity"]["min_cosine"] > 0.9999


def test_a_flipped_byte_in_the_plan_is_found(compiled: Compiled, tmp_path: Path) -> None:
    """The hash is checked before TensorRT reads the plan."""
    pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    import shutil

    copy = tmp_path / "bundle"
    shutil.copytree(compiled("rtx-ada", "fp16"), copy)
    (engine,) = copy.glob("engines/*.engine")
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)
    with pytest.raises(CorruptArtifactError, match=r"\.engine has changed"):
        open_artifact(copy, "bundle")


def test_usage_errors_come_first(
    source: ModelSource, images: CalibrationImages, tmp_path: Path
) -> None:
    """Nothing is computed for a target that does not exist or a precision it does not have."""

    def compile_for(target: str, precision: str | None) -> None:
        compile_model(request_for(source, target, precision, images), tmp_path / "b")

    with pytest.raises(UnknownTargetError, match=r"rtx-adda.*did you mean rtx-ada.*jetson-orin"):
        compile_for("rtx-adda", None)
    with pytest.raises(UsageError, match="expected auto, fp32 or int8 for target cpu"):
        compile_for("cpu", "fp16")
    assert not list(tmp_path.iterdir())


def test_int8_needs_images(source: ModelSource, images: CalibrationImages, tmp_path: Path) -> None:
    """Three images are refused before anything is written."""
    few = CalibrationImages(images.calibration[:3], images.held_out, True, "three")
    for target in ("cpu", "rtx-ada"):
        with pytest.raises(DataError, match="found 3 calibration images"):
            compile_model(request_for(source, target, "int8", few), tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_gives_nan_is_refused(
    source: ModelSource, images: CalibrationImages, tmp_path: Path
) -> None:
    """Finite weights can still give NaN: the square root of a negative bias, for one."""
    model = load_graph(source.graph)
    make = onnx.helper.make_node
    last = model.graph.node[-1]
    last.output[0] = "before"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(-2), "shift"))
    model.graph.node.extend(
        [make("Add", ["before", "shift"], ["sum"], "a"), make("Sqrt", ["sum"], ["descriptor"], "s")]
    )
    onnx.save(model, str(tmp_path / "nan.onnx"))
    broken = ModelSource(
        tmp_path / "nan.onnx", source.preprocess, source.space, source.model_digest
    )
    with pytest.raises(NumericsError, match="from the exported FP32 graph on 8 of 8 images"):
        compile_model(request_for(broken, "cpu", None, images), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_another_size_than_the_model_was_trained_for(
    source: ModelSource, images: CalibrationImages, tmp_path: Path
) -> None:
    """The graph's size must be that of the preprocessing."""
    other = ModelSource(source.graph, Preprocess(64, 128), source.space, source.model_digest)
    with pytest.raises(CorruptArtifactError, match=r"for 128x128 pixels, expected 128x64"):
        compile_model(request_for(other, "cpu", None, images), tmp_path / "b")


KILLED = """
import os, signal, sys
from pathlib import Path
import msgspec, numpy as np
from edgevpr.compile.pipeline import compile_model
from edgevpr.compile.request import request_for
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.compile.source import ModelSource
from edgevpr.preprocess import Preprocess

def track(items, description, total=None):
    if description == "parity":
        os.kill(os.getpid(), signal.SIGKILL)
    yield from items

graph, out, inputs = map(Path, sys.argv[1:])
images = np.load(inputs)
source = ModelSource(graph, Preprocess(128, 128), "boq-256-0123456789ab", "0" * 64)
golden = CalibrationImages(images, images, False, "golden")
compile_model(request_for(source, "cpu", "fp32", golden), out, track=track)
"""


def test_a_killed_compile_leaves_the_old_bundle(
    compiled: Compiled, source: ModelSource, images: CalibrationImages, tmp_path: Path
) -> None:
    """SIGKILL in the middle: the old bundle verifies, and the next run clears what was left."""
    import shutil

    out = tmp_path / "bundle"
    shutil.copytree(compiled("cpu", "fp32"), out)
    before = open_artifact(out, "bundle").digest
    inputs = out / "golden_inputs.npy"
    command = [sys.executable, "-c", KILLED, str(source.graph), str(out), str(inputs)]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ})
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert open_artifact(out, "bundle").digest == before
    assert len(list(tmp_path.iterdir())) == 2, "the killed run's folder is beside it"
    record = compile_model(request_for(source, "cpu", "fp32", images), out)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
    opened = open_artifact(out, "bundle").read("bundle.json", BundleRecord)
    assert msgspec.to_builtins(opened) == msgspec.to_builtins(record)
