"""Builds on an NVIDIA GPU: ``pytest -m gpu`` where there is one, with TensorRT and pycuda."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.compile.engine.build_engine import build_bundle

pytestmark = pytest.mark.gpu


@pytest.fixture
def gpu() -> None:
    """Skips where there is no GPU to run engines on."""
    cuda = pytest.importorskip("pycuda.driver", reason="needs pycuda")
    try:
        cuda.init()
    except Exception as error:
        pytest.skip(f"no working NVIDIA GPU: {error}")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_build_on_this_gpu(
    compiled: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
) -> None:
    """Recipe, builder, inspector, timing cache, gate and runner together, on real hardware."""
    pytest.importorskip("tensorrt", reason="needs TensorRT")
    monkeypatch.setenv("EDGEVPR_CACHE", str(tmp_path / "cache"))
    path = Path(shutil.copytree(compiled("cuda", precision), tmp_path / "bundle"))
    first = build_bundle(path)
    assert first.refused == {}
    assert first.parity is not None
    assert first.latency is not None
    (engine,) = first.engines
    assert first.layers[engine.engine].precisions[precision] > 0
    (cache,) = (tmp_path / "cache" / "timing").iterdir()
    assert cache.stat().st_size > 100
    second = build_bundle(path)
    print(f"{precision}: {engine.build_seconds} s, again {second.engines[0].build_seconds} s")
    record = open_artifact(path, "bundle").read("bundle.json", BundleRecord)
    assert record.engines == [engine.engine]


@pytest.mark.usefixtures("gpu")
def test_an_rtx_engine_on_this_gpu(compiled: Callable[..., Path], tmp_path: Path) -> None:
    """An engine built ahead of time runs, and agrees with FP32."""
    pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    import pycuda.driver as cuda

    major, minor = cuda.Device(0).compute_capability()
    targets = {75: "turing", 80: "ampere", 86: "ampere", 89: "ada", 120: "blackwell"}
    if 10 * major + minor not in targets:
        pytest.skip(f"TensorRT-RTX has no target for sm_{major}{minor}")
    target = f"rtx-{targets[10 * major + minor]}"
    path = Path(shutil.copytree(compiled(target, "fp16"), tmp_path / "bundle"))
    report = build_bundle(path)
    assert report.parity is not None, report.remarks
    assert report.parity.min_cosine > 0.999
