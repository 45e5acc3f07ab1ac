"""Engine runners: ONNX Runtime, the names used of TensorRT, the choice of an engine."""

import ast
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import Artifact, sha256_file, write_json
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.errors import (
    CorruptArtifactError,
    EngineMissingError,
    TargetError,
)
from edgevpr.runtime import OnnxRunner, runner_from_bundle
from edgevpr.runtime.engines import engine_choice, rtx_cache, tensorrt
from edgevpr.runtime.engines.engine_choice import choose_engine

from ..build import DIM, SIDE, World, write_bundle
from . import fake_cuda


def test_onnx_runner_batches_and_keeps_results(world: World) -> None:
    """Rows are in the order of the images, and are not overwritten by the next call."""
    images = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3)).astype(np.uint8)
    with OnnxRunner(world.bundle / "model.onnx", threads=1) as runner:
        first = runner.infer(images[:1])
        kept = first.copy()
        together = runner.infer(images)
    assert together.shape == (5, DIM)
    assert together.dtype == np.float32
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(together[0], kept[0])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)


def test_graph_that_onnxruntime_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(CorruptArtifactError, match="no ONNX model"):
        OnnxRunner(tmp_path / "model.onnx")


def test_the_graph_that_runs_is_the_one_that_was_checked(tmp_path: Path) -> None:
    """A file put in its place between the check and the loading does not run."""
    opened = open_artifact(write_bundle(tmp_path / "b"), "bundle")
    other = write_bundle(tmp_path / "other", nan=True)
    (other / "model.onnx").rename(tmp_path / "b" / "model.onnx")
    with pytest.raises(CorruptArtifactError, match=r"model\.onnx has changed"):
        runner_from_bundle(opened)


def test_a_graph_of_other_ends_than_the_record(tmp_path: Path) -> None:
    """Or of no pinned graph at all: the record of a bundle says what its graph takes and gives."""
    opened = open_artifact(write_bundle(tmp_path / "b"), "bundle")
    record = opened.read("bundle.json", BundleRecord)
    for change in ({"output_dim": DIM - 1}, {"input": "image"}):
        with pytest.raises(CorruptArtifactError, match=r"as in its bundle\.json"):
            runner_from_bundle(opened, msgspec.structs.replace(record, **change))


def test_bundle_with_a_changed_byte(world: World, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(data)
    with pytest.raises(CorruptArtifactError, match=r"model\.onnx"):
        open_artifact(bundle, "bundle")


@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
def test_tensorrt_bundle_on_a_machine_without(tmp_path: Path, runtime: str) -> None:
    """The error names what to install or to use."""
    bundle = open_artifact(write_bundle(tmp_path / "b", runtime=runtime), "bundle")
    try:
        import pycuda.driver as cuda

        cuda.init()
    except Exception:
        pass
    else:
        pytest.skip("this machine has CUDA")
    with pytest.raises(TargetError, match="--target cpu"):
        runner_from_bundle(bundle)


def test_unknown_engine(tmp_path: Path) -> None:
    """A bundle of a newer edgevpr is refused by name."""
    bundle = open_artifact(write_bundle(tmp_path / "b", runtime="hal9000"), "bundle")
    with pytest.raises(TargetError, match="hal9000"):
        runner_from_bundle(bundle)


def engine_bundle(path: Path, **changes: str) -> tuple[Artifact, BundleRecord]:
    """A bundle with one engine file (not a real engine) and its sidecar."""

    def extra(folder: Path) -> None:
        (folder / "engines").mkdir()
        (folder / "engines" / "orin.engine").write_bytes(b"engine bytes")
        fields = {
            "engine": "orin.engine",
            "sha256": sha256_file(folder / "engines" / "orin.engine"),
            "graph_sha256": sha256_file(folder / "model.onnx"),
            "precision": "fp16",
            "runtime": "tensorrt",
            "version": "10.3.0",
            "sm": "sm_87",
            "board": "jetson-orin-nx-16gb",
        }
        sidecar = EngineSidecar(**{**fields, **changes}, flags=[], build_seconds=1.0)
        write_json(folder / "engines" / "orin.json", sidecar)

    write_bundle(path, runtime="tensorrt", engines=["orin"], extra=extra)
    bundle = open_artifact(path, "bundle")
    return bundle, bundle.read("bundle.json", BundleRecord)


def test_engine_for_this_board(tmp_path: Path) -> None:
    bundle, record = engine_bundle(tmp_path / "b")
    sidecar, plan = choose_engine(bundle, record, "10.3.0", "sm_87")
    assert (sidecar.engine, plan) == ("orin.engine", b"engine bytes")


def test_engine_of_another_jetson(tmp_path: Path) -> None:
    """An AGX Orin's engine is refused on an Orin Nano: same GPU name, SM and TensorRT."""
    bundle, record = engine_bundle(tmp_path / "b", target="jetson-agx-orin-64gb")
    assert choose_engine(bundle, record, "10.3.0", "sm_87", "jetson-agx-orin-64gb")
    with pytest.raises(
        EngineMissingError,
        match=r"sm_87 of a jetson-agx-orin-64gb .*, expected one for .* of a jetson-orin-nano-8gb",
    ):
        choose_engine(bundle, record, "10.3.0", "sm_87", "jetson-orin-nano-8gb")


@pytest.mark.parametrize(("version", "sm"), [("10.3.0", "sm_110"), ("10.13.0", "sm_87")])
def test_engine_of_another_board(tmp_path: Path, version: str, sm: str) -> None:
    """An engine for another GPU or version is refused before TensorRT reads it."""
    bundle, record = engine_bundle(tmp_path / "b")
    with pytest.raises(TargetError, match=rf"10\.3\.0 on sm_87.*{version} on {sm}.*edgevpr build"):
        choose_engine(bundle, record, version, sm)


def test_no_engine_yet(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", runtime="tensorrt")
    bundle = open_artifact(tmp_path / "b", "bundle")
    with pytest.raises(TargetError, match="no engine yet"):
        choose_engine(bundle, bundle.read("bundle.json", BundleRecord), "10.3.0", "sm_87")


@pytest.mark.parametrize("field", ["sha256", "graph_sha256"])
def test_engine_that_is_not_what_its_sidecar_says(tmp_path: Path, field: str) -> None:
    """An engine that changed, or of another graph, is refused."""
    bundle, record = engine_bundle(tmp_path / "b", **{field: "0" * 64})
    with pytest.raises(CorruptArtifactError, match="edgevpr build"):
        choose_engine(bundle, record, "10.3.0", "sm_87")


#: variable of the runner's sources -> TensorRT class (None: the module itself).
_HOLDERS = {
    "trt": None,
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "config": "IRuntimeConfig",
    "cache": "IRuntimeCache",
}
#: what the runner touches for TensorRT-RTX alone.
_RTX_ONLY = {"IRuntimeConfig", "IRuntimeCache", "CudaGraphStrategy", "create_runtime_config"}


def used_names() -> set[tuple[str, ...]]:
    """Every TensorRT name the runner touches: ("Logger", "WARNING"), ("ICudaEngine", "...")."""
    names = set()
    for module in (tensorrt, engine_choice, rtx_cache):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            chain = []
            while isinstance(node, ast.Attribute):
                chain.insert(0, node.attr)
                node = node.value
            if chain and isinstance(node, ast.Name) and node.id in _HOLDERS:
                holder = _HOLDERS[node.id]
                names.add((holder, *chain) if holder else tuple(chain))
    return {n for n in names if n[0] != "__version__"}


@pytest.mark.shared
def test_tensorrt_names_exist_in_every_version(shared: Path) -> None:
    """Every name the runner uses exists in TensorRT 8.6 to 11 and RTX."""
    names = used_names()
    for expected in (
        ("IExecutionContext", "execute_async_v3"),
        ("Runtime", "deserialize_cuda_engine"),
        ("IRuntimeConfig", "cuda_graph_strategy"),
        ("IRuntimeCache", "deserialize"),
        ("CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE"),
    ):
        assert expected in names
    files = sorted((shared / "tensorrt-api").glob("*.json"))
    assert files
    for file in files:
        api = json.loads(file.read_text())["api"]
        rtx = "rtx" in file.name
        for name in names if rtx else {n for n in names if not _RTX_ONLY & set(n)}:
            assert name[0] in api, f"{file.name}: {name}"
            if len(name) > 1:
                assert name[1] in api[name[0]]["members"], f"{file.name}: {name}"


@pytest.mark.shared
def test_fake_tensorrt_has_no_name_of_its_own(shared: Path) -> None:
    """The fake has only calls that TensorRT has."""
    api = json.loads((shared / "tensorrt-api" / "tensorrt-rtx-1.7.json").read_text())["api"]
    trt = fake_cuda.tensorrt(fake_cuda.Gpu())
    for fake, real in (
        (trt.Runtime, "Runtime"),
        (trt.Engine, "ICudaEngine"),
        (trt.Execution, "IExecutionContext"),
        (trt.Config, "IRuntimeConfig"),
        (trt.Cache, "IRuntimeCache"),
    ):
        own = {n for n in vars(fake) if not n.startswith("_")} - {"held", "cache", "stage"}
        assert own
        assert own <= set(api[real]["members"]), real
