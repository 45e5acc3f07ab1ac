"""The builder on fakes of every TensorRT release, made from the release's own names."""

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgevpr.artifacts.folder import open_artifact
from edgevpr.compile.engine import build_engine as building
from edgevpr.compile.engine import builder, first_run, on_device
from edgevpr.compile.engine.build_engine import build_bundle
from edgevpr.compile.engine.builder import Order, build_engine
from edgevpr.compile.engine.timing_cache import read_timing_cache, timing_cache_file
from edgevpr.device.gpu import Gpu
from edgevpr.errors import ResourceError, TargetError

from .fake_tensorrt import FakeTensorRT
from .test_build_engine import golden_runner, jetson
from .test_releases import CLASSES, RELEASES, functions

AGX = jetson("jetson-agx-orin-64gb", "NVIDIA Jetson AGX Orin", "6.2")
TENSORRT = [name for name in RELEASES if "rtx" not in name]
#: What the builder's functions take attributes of that is no TensorRT object.
OURS = {
    "order", "dialect", "logger", "plan", "layers", "time", "functools", "threading", "queue",
    "events", "thread", "result", "failure", "messages", "remarks", "fell_back", "self", "graph",
    "dataclasses", "monitor", "dict", "name", "line", "msg", "value",
}  # fmt: skip


@pytest.fixture
def installed(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Installs a release made from its listing."""

    def install(name: str, **answers: Any) -> FakeTensorRT:
        listing = json.loads((shared / "tensorrt-api" / f"{name}.json").read_text())
        made = {tuple(key.split("__")): value for key, value in answers.items()}
        fake = FakeTensorRT(listing["api"], listing["tensorrt"], made)  # type: ignore[arg-type]
        monkeypatch.setattr(builder, "load_tensorrt", lambda _: fake)
        return fake

    return install


def order(tmp_path: Path, precision: str = "fp16", sm: int = 110, **more: Any) -> Order:
    return Order(tmp_path / "model.onnx", precision, sm, ("layer",), 1 << 30, **more)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", TENSORRT)
def test_the_builder_runs_on_every_release(
    installed: Any, tmp_path: Path, name: str, precision: str
) -> None:
    """It uses no name that a release lacks."""
    sm = 87 if name in ("tensorrt-8.6", "tensorrt-10.3", "tensorrt-10.7") else 110
    fake = installed(name)
    engine = build_engine("tensorrt", order(tmp_path, precision, sm))
    assert engine.data == b"a plan"
    assert engine.layers is not None
    assert engine.layers.precisions == {"fp16": 2}
    assert engine.layers.dla == ["part"]
    assert ("IBuilderConfig", "set_memory_pool_limit", (1, 1 << 30)) in [
        (owner, member, (1, args[1])) for owner, member, args in fake.calls
        if member == "set_memory_pool_limit"
    ]  # fmt: skip
    constrained = [args for owner, member, args in fake.calls if member == "set_output_type"]
    assert bool(constrained) == (name == "tensorrt-8.6")


@pytest.mark.parametrize(
    "name", ["tensorrt-8.6", "tensorrt-10.3", "tensorrt-10.7", "tensorrt-11.4"]
)
def test_dla_with_the_gpu_behind_it(installed: Any, tmp_path: Path, name: str) -> None:
    """Layers that DLA cannot run are listed, constants left out."""
    fake = installed(name, IBuilderConfig__can_run_on_DLA=lambda layer: False)
    engine = build_engine("tensorrt", order(tmp_path, sm=87, dla=1))
    assert engine.fell_back == ["layer", "layer", "layer"]
    assert "GPU_FALLBACK" in engine.flags
    assert ("FP16" in engine.flags) == (name != "tensorrt-11.4")
    assert ("IBuilderConfig", "DLA_core", 1) in fake.calls
    assert ("Runtime", "DLA_core", 1) in fake.calls
    with pytest.raises(TargetError, match="one of the 2 DLA cores of this device"):
        build_engine("tensorrt", order(tmp_path, sm=87, dla=2))


def test_a_second_build_reads_the_timing_cache(
    installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache goes from one build to the next, per board and release, and is written whole."""
    monkeypatch.setenv("EDGEVPR_CACHE", str(tmp_path / "cache"))
    file = timing_cache_file("Jetson Orin NX", 87, "10.3.0")
    assert file == tmp_path / "cache" / "timing" / "jetson-orin-nx-sm87-tensorrt-10.3.0.cache"
    fake = installed("tensorrt-10.3")
    first = build_engine("tensorrt", order(tmp_path, sm=87, timing_cache=file))
    assert read_timing_cache(file) == (b"measured kernels", "")
    second = build_engine("tensorrt", order(tmp_path, sm=87, timing_cache=file))
    given = [args for _, member, args in fake.calls if member == "create_timing_cache"]
    assert given == [(b"",), (b"measured kernels",)]
    assert first.remarks == second.remarks == []


def test_a_damaged_timing_cache_costs_a_remark(
    installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT is not given its bytes, and the cache is made anew."""
    monkeypatch.setenv("EDGEVPR_CACHE", str(tmp_path / "cache"))
    file = timing_cache_file("b", 87, "10.3")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a cache")
    fake = installed("tensorrt-10.3")
    (remark,) = build_engine("tensorrt", order(tmp_path, sm=87, timing_cache=file)).remarks
    assert "damaged" in remark
    assert "\n" not in remark
    assert [a for _, member, a in fake.calls if member == "create_timing_cache"] == [(b"",)]
    assert read_timing_cache(file) == (b"measured kernels", "")


def test_a_cache_that_cannot_be_kept_costs_a_remark(installed: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    installed("tensorrt-10.3")
    cache = tmp_path / "file" / "x.cache"
    engine = build_engine("tensorrt", order(tmp_path, sm=87, timing_cache=cache))
    assert any("EDGEVPR_CACHE" in remark for remark in engine.remarks)


def test_less_workspace_when_memory_runs_out(installed: Any, tmp_path: Path) -> None:
    """Half of it, and half again; then an error."""
    asked = []

    def build(left: int) -> Any:
        def give(*_: object) -> bytes | None:
            asked.append(0)
            if len(asked) < left:
                builder._logger(fake).messages.append("Out of memory: tactic needs 1 GiB")
                return None
            return b"a plan"

        return give

    fake = installed("tensorrt-10.3", Builder__build_serialized_network=build(3))
    engine = build_engine("tensorrt", order(tmp_path, sm=87))
    assert engine.workspace == 256 << 20
    assert engine.remarks == [
        "memory ran out: building with 512 MiB of workspace",
        "memory ran out: building with 256 MiB of workspace",
    ]
    fake = installed("tensorrt-10.3", Builder__build_serialized_network=build(99))
    with pytest.raises(ResourceError, match=r"too little memory .*stop other programs"):
        build_engine("tensorrt", order(tmp_path, sm=87))


def test_every_object_is_classified() -> None:
    """Every TensorRT object in the builder has a name that the walk checks."""
    names = {
        node.value.id
        for function in functions().values()
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    assert names - set(CLASSES) - OURS - {"trt"} == set()
    assert set(CLASSES) <= names, "a class nobody uses"


@pytest.mark.parametrize("name", ["tensorrt-8.6", "tensorrt-10.3", "tensorrt-11.4"])
def test_a_bundle_built_on_a_board(
    installed: Any,
    compiled: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """From recipe to evidence on each kind of release; only TensorRT and the runner are fakes."""
    fake = installed(name, IBuilderConfig__can_run_on_DLA=lambda layer: True)
    monkeypatch.setattr(on_device, "load_tensorrt", lambda _: fake)
    monkeypatch.setattr(on_device, "first_gpu", lambda: Gpu("Orin", 87, 8.6, 8 << 30))
    monkeypatch.setattr(building, "read_board", lambda: AGX)
    monkeypatch.setattr(first_run, "runner_from_bundle", golden_runner)
    monkeypatch.setenv("EDGEVPR_CACHE", str(tmp_path / "cache"))
    path = Path(shutil.copytree(compiled("jetson-orin", "int8"), tmp_path / "bundle"))
    report = build_bundle(path)
    (sidecar,) = report.engines
    assert (sidecar.precision, sidecar.version, sidecar.jetpack) == (
        "int8",
        fake.__version__,
        "6.2",
    )
    flags = {"tensorrt-8.6": {"FP16", "INT8"}, "tensorrt-10.3": {"STRONGLY_TYPED"}}
    assert flags.get(name, set()) <= set(sidecar.flags)
    parsed = [args[0] for _, member, args in fake.calls if member == "parse_from_file"]
    assert [Path(file).name for file in parsed] == [sidecar.built_from]
    assert report.layers[sidecar.engine].precisions == {"fp16": 2}
    assert (tmp_path / "cache" / "timing").is_dir()
    written = open_artifact(path, "bundle")
    assert written.file(f"engines/{sidecar.engine}").read_bytes() == b"a plan"
