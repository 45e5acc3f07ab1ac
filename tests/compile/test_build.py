"""``edgevpr build``: on this machine, on the wrong machine, and when the new engine is wrong."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevpr import artifact
from edgevpr.artifact import Artifact
from edgevpr.compile import build as module
from edgevpr.compile.build import build_bundle
from edgevpr.compile.builder import Engine, Order
from edgevpr.errors import NumericsError, ResourceError, TargetError
from edgevpr.records import BundleRecord, EngineSidecar

Compiled = Callable[..., Path]


def copy_of(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_cpu_bundle_needs_no_build(compiled: Compiled) -> None:
    """It says so instead of failing or pretending."""
    report = build_bundle(compiled("cpu", "fp32"))
    assert report.engines == []
    assert "no engine to build" in report.remarks[0]


def test_a_jetson_bundle_off_the_board(compiled: Compiled) -> None:
    """Without TensorRT: one sentence, and the bundle as it was."""
    path = compiled("jetson-orin", "int8")
    before = artifact.open_artifact(path, "bundle").digest
    if __import__("importlib.util").util.find_spec("tensorrt"):
        pytest.skip("TensorRT is installed here")
    with pytest.raises(TargetError, match=r"found no TensorRT .*: run edgevpr build on the device"):
        build_bundle(path)
    assert artifact.open_artifact(path, "bundle").digest == before


def test_an_rtx_bundle_is_rebuilt(compiled: Compiled, tmp_path: Path) -> None:
    """After an update of TensorRT-RTX the engine is of the past: build makes it anew."""
    pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    path = copy_of(compiled("rtx-ada", "fp16"), tmp_path)
    before = artifact.open_artifact(path, "bundle").read("bundle.json", BundleRecord)
    report = build_bundle(path)
    after = artifact.open_artifact(path, "bundle")
    record = after.read("bundle.json", BundleRecord)
    assert record.engines == before.engines == [report.engines[0].engine]
    (name,) = record.engines
    assert artifact.sha256_file(after.file(f"engines/{name}")) == report.engines[0].sha256
    assert report.parity is None
    assert "no parity gate" in report.remarks[0]
    assert artifact.open_artifact(path, "bundle").space == "boq-256-0123456789ab"


def test_a_board_needs_no_compiler() -> None:
    """A board has TensorRT and the bare install: building must not import what it lacks."""
    code = """
import sys
for name in ("onnx", "torch", "modelopt", "onnxslim", "onnxruntime", "tensorrt", "tensorrt_rtx"):
    sys.modules[name] = None
import edgevpr.compile.build, edgevpr.compile.builder, edgevpr.cli.build
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """A board with TensorRT 8.6 on sm_87, as far as the build steps can tell; keeps the orders."""
    orders: list[Order] = []

    def build_engine(runtime: str, order: Order, **_: Any) -> Engine:
        orders.append(order)
        return Engine(b"plan" * 1000, "8.6.2", ["FP16"], 1.0, [])

    class TensorRT:
        __version__ = "8.6.2"

    monkeypatch.setattr(module, "load_tensorrt", lambda _: TensorRT)
    monkeypatch.setattr(module, "build_engine", build_engine)
    monkeypatch.setattr(module, "_gpu", lambda: (87, "Orin"))
    return orders


def test_a_board_follows_the_recipe(compiled: Compiled, tmp_path: Path, board: list[Order]) -> None:
    """Release 8.6 gets its own graph and its FP32 nodes; the gate sees the staged engine."""
    path = copy_of(compiled("jetson-orin", "int8"), tmp_path)
    golden = np.load(path / "golden_descriptors.npy")

    def describe(staged: Artifact, images: np.ndarray) -> np.ndarray:
        assert images.shape == (8, 128, 128, 3)
        assert staged.path != path
        record = staged.read("bundle.json", BundleRecord)
        stem = record.engines[0].removesuffix(".engine")
        sidecar = staged.read(f"engines/{stem}.json", EngineSidecar)
        assert artifact.sha256_file(staged.file(f"engines/{stem}.engine")) == sidecar.sha256
        assert (sidecar.sm, sidecar.board) == ("sm_87", "Orin")
        return golden

    report = build_bundle(path, describe=describe)
    (order,) = board
    assert order.graph.name == "model-flags.onnx"
    assert order.fp32_nodes
    assert order.sm == 87
    assert order.workspace is not None
    assert report.parity is not None
    assert report.parity.min_cosine == pytest.approx(1)
    record = artifact.open_artifact(path, "bundle").read("bundle.json", BundleRecord)
    assert record.engines == ["int8-sm87-tensorrt-8.6.2.engine"]


def test_a_wrong_engine_never_enters_the_bundle(
    compiled: Compiled, tmp_path: Path, board: list[Order]
) -> None:
    """TensorRT has built wrong FP16 engines without a word: the gate must stop them."""
    path = copy_of(compiled("jetson-orin", "int8"), tmp_path)
    before = artifact.open_artifact(path, "bundle").digest
    with pytest.raises(NumericsError, match="the new int8 engine gives NaN"):
        build_bundle(path, describe=lambda _, images: np.full((8, 48), np.nan, np.float32))
    assert artifact.open_artifact(path, "bundle").digest == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_another_gpu_than_the_recipe(
    compiled: Compiled, tmp_path: Path, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Orin recipe on a Xavier: both are named."""
    monkeypatch.setattr(module, "_gpu", lambda: (72, "Xavier"))
    with pytest.raises(TargetError, match=r"jetson-orin \(sm_87\), this GPU is Xavier \(sm_72\)"):
        build_bundle(copy_of(compiled("jetson-orin", "int8"), tmp_path))


def test_a_full_disk_is_said_first(
    compiled: Compiled, tmp_path: Path, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before minutes of building, not after."""
    path = copy_of(compiled("jetson-orin", "int8"), tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ResourceError, match="has 1 MiB free"):
        build_bundle(path)
    assert board == []
