"""Build of a bundle's engine: on its device, on another, and with a wrong engine."""

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import Artifact, sha256_file, write_json
from edgevpr.artifacts.records import BundleRecord
from edgevpr.cli.build import show
from edgevpr.compile.engine import build_engine as building
from edgevpr.compile.engine import first_run, on_device, preflight
from edgevpr.compile.engine.build_engine import build_bundle
from edgevpr.compile.engine.builder import Engine, Order, build_engine
from edgevpr.compile.engine.recipe import RECIPE, Recipe
from edgevpr.compile.engine.sidecars import BuildReport, sidecar_of
from edgevpr.device.board import Board
from edgevpr.device.gpu import Gpu
from edgevpr.errors import (
    CorruptArtifactError,
    MissingExtraError,
    NumericsError,
    ResourceError,
    TargetError,
    UsageError,
)

Compiled = Callable[..., Path]


def copy_of(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_cpu_bundle_needs_no_build(compiled: Compiled) -> None:
    """The report has a remark, parity and latency."""
    report = build_bundle(compiled("cpu", "fp32"))
    assert report.engines == []
    assert "no engine to build" in report.remarks[0]


def test_a_jetson_bundle_off_the_board(compiled: Compiled) -> None:
    """Without TensorRT: one sentence, and the bundle as it was."""
    path = compiled("jetson-orin", "int8")
    before = open_artifact(path, "bundle").digest
    if __import__("importlib.util").util.find_spec("tensorrt"):
        pytest.skip("TensorRT is installed here")
    with pytest.raises(TargetError, match=r"found no TensorRT .*: run edgevpr build BUNDLE on"):
        build_bundle(path)
    assert open_artifact(path, "bundle").digest == before


def test_an_rtx_bundle_is_rebuilt(compiled: Compiled, tmp_path: Path) -> None:
    """A build replaces the engine in the bundle."""
    pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    path = copy_of(compiled("rtx-ada", "fp16"), tmp_path)
    before = open_artifact(path, "bundle").read("bundle.json", BundleRecord)
    report = build_bundle(path)
    after = open_artifact(path, "bundle")
    record = after.read("bundle.json", BundleRecord)
    assert record.engines == before.engines == [report.engines[0].engine]
    (name,) = record.engines
    assert sha256_file(after.file(f"engines/{name}")) == report.engines[0].sha256
    assert report.parity is None
    layers = report.layers[name]
    assert layers.precisions["fp16"] > layers.precisions["fp32"] > 0
    assert open_artifact(path, "bundle").space == "boq-256-0123456789ab"


def test_a_graph_exchanged_while_it_is_built(
    compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another graph at its path after the check is neither built nor kept beside the engine."""
    pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    path = copy_of(compiled("rtx-ada", "fp16"), tmp_path)
    before = open_artifact(path, "bundle").digest
    kept, stays = path / "model.onnx", False

    def exchanged(*args: Any, **options: Any) -> Engine:
        kept.rename(tmp_path / "kept")
        kept.write_bytes(b"another graph, which cannot be built")
        built = build_engine(*args, **options)
        if not stays:
            (tmp_path / "kept").rename(kept)
        return built

    monkeypatch.setattr(building, "build_engine", exchanged)
    report = build_bundle(path)
    built = open_artifact(path, "bundle")
    assert report.engines[0].graph_sha256 == built.manifest.files["model.onnx"].sha256
    before, stays = built.digest, True
    with pytest.raises(CorruptArtifactError, match=r"model\.onnx has changed"):
        build_bundle(path)
    (tmp_path / "kept").rename(kept)
    assert open_artifact(path, "bundle").digest == before


def test_a_graph_with_weights_outside_itself_is_not_built(
    compiled: Compiled, tmp_path: Path
) -> None:
    """They would be read from a path that nothing in the graph's hash covers."""
    path = copy_of(compiled("rtx-ada", "fp16"), tmp_path)
    opened = open_artifact(path, "bundle")
    model = onnx.load(path / "model.onnx")
    with write_artifact(path, "bundle", space=opened.space) as folder:
        shutil.copytree(path, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        (folder / "model.onnx").unlink()
        onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="more.bin",
                  size_threshold=0)  # fmt: skip
        record = opened.read("bundle.json", BundleRecord)
        digest = sha256_file(folder / "model.onnx")
        write_json(folder / "bundle.json", msgspec.structs.replace(record, graph_sha256=digest))
    with pytest.raises(CorruptArtifactError, match="data outside the file"):
        build_bundle(path)


def test_a_real_engine_signed_by_its_board(
    compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board's key answers for the engine that TensorRT-RTX built here, and for no other;
    the maker's signature still covers the rest."""
    pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    pytest.importorskip("cryptography")
    from edgevpr.artifacts import sign as signing
    from edgevpr.artifacts.trust import check_engine_trusted, engine_signers

    path = copy_of(compiled("rtx-ada", "fp16"), tmp_path)
    maker, board = (signing.new_key(tmp_path / f"{n}.pem") for n in ("maker", "board"))
    signing.sign(path, tmp_path / "maker.pem")
    (name,) = open_artifact(path, "bundle").read("bundle.json", BundleRecord).engines
    stem = name.removesuffix(".engine")
    assert engine_signers(open_artifact(path, "bundle")) == {stem: maker}
    trusted = tmp_path / "trusted"
    trusted.write_text(f"{maker} maker\n")
    monkeypatch.setenv("EDGEVPR_TRUSTED_KEYS", str(trusted))
    monkeypatch.setenv("EDGEVPR_BOARD_KEY", str(tmp_path / "board.pem"))
    report = build_bundle(path)
    assert any("not" in remark and "BOARD" not in remark for remark in report.remarks)
    built = open_artifact(path, "bundle")
    assert engine_signers(built) == {stem: board}
    with pytest.raises(CorruptArtifactError, match=r"engines .* BOARD"):
        check_engine_trusted(built, stem)
    trusted.write_text(f"{maker} maker\nengines {board} this-board\n")
    check_engine_trusted(built, stem)
    # another engine, its sidecar, the record and the manifest made to fit each other
    with write_artifact(path, "bundle", space=built.space) as folder:
        shutil.copytree(path, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        engine = folder / "engines" / name
        data = bytearray(engine.read_bytes())
        data[len(data) // 2] ^= 1
        engine.write_bytes(data)
        sidecar = msgspec.structs.replace(sidecar_of(built, name), sha256=sha256_file(engine))
        write_json(folder / "engines" / f"{stem}.json", sidecar)
    with pytest.raises(CorruptArtifactError, match="not of this engine"):
        check_engine_trusted(open_artifact(path, "bundle"), stem)


def test_a_board_needs_no_compiler() -> None:
    """Building imports nothing beyond TensorRT and the bare install."""
    code = """
import sys
for name in ("onnx", "torch", "modelopt", "onnxslim", "onnxruntime", "tensorrt", "tensorrt_rtx"):
    sys.modules[name] = None
import edgevpr.cli.build
from edgevpr.compile.engine import build_engine, builder, over_ssh
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """An Orin NX with a fake TensorRT 8.6; keeps the orders of builds."""
    orders: list[Order] = []

    def build_engine(runtime: str, order: Order, **_: Any) -> Engine:
        orders.append(order)
        return Engine(b"plan" * 1000, "8.6.2", ["FP16"], 1.0, [], workspace=512 << 20)

    class TensorRT:
        __version__ = "8.6.2"

    monkeypatch.setattr(on_device, "load_tensorrt", lambda _: TensorRT)
    monkeypatch.setattr(on_device, "build_engine", build_engine)
    monkeypatch.setattr(on_device, "first_gpu", lambda: Gpu("Orin", 87, 8.6, 8 << 30))
    monkeypatch.setattr(building, "read_board", lambda: NX)
    monkeypatch.setattr(first_run, "runner_from_bundle", golden_runner)
    return orders


class FixedRunner:
    """An engine that gives, for each engine loaded, the next of these descriptors."""

    device = "an engine"

    def __init__(self, *descriptors: np.ndarray) -> None:
        self.left, self.seen = list(descriptors), list[Artifact]()

    def __call__(self, bundle: Artifact) -> "FixedRunner":
        self.seen.append(bundle)
        self.now = self.left.pop(0)
        return self

    def __enter__(self) -> "FixedRunner":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def infer(self, images: np.ndarray) -> np.ndarray:
        return self.now[: len(images)]


def golden_runner(bundle: Artifact) -> "FixedRunner":
    """An engine that gives the golden descriptors of its bundle."""
    return FixedRunner(np.load(bundle.path / "golden_descriptors.npy"))(bundle)


def build_with(monkeypatch: pytest.MonkeyPatch, path: Path, runner: "FixedRunner") -> BuildReport:
    """Build a bundle whose new engines give what ``runner`` gives."""
    monkeypatch.setattr(first_run, "runner_from_bundle", runner)
    return build_bundle(path)


def jetson(target: str, model: str, jetpack: str) -> Board:
    return Board(model, [], target, "", jetpack, "", "", "", {})


NX = jetson("jetson-orin-nx-16gb", "NVIDIA Jetson Orin NX", "6.0")


def test_a_board_follows_the_recipe(
    compiled: Compiled, tmp_path: Path, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Release 8.6 gets its own graph and its FP32 nodes; the gate sees the staged engine."""
    path = copy_of(compiled("jetson-orin", "int8"), tmp_path)
    golden = np.load(path / "golden_descriptors.npy")
    gives = FixedRunner(golden)
    report = build_with(monkeypatch, path, gives)
    (order,), (staged,) = board, gives.seen
    assert staged.path != path
    assert order.graph.name == "model-int8-flags.onnx"
    assert order.fp32_nodes
    assert order.sm == 87
    assert order.workspace is not None
    assert order.timing_cache is not None
    assert order.timing_cache.name == "jetson-orin-nx-16gb-sm87-tensorrt-8.6.2.cache"
    assert report.parity is not None
    assert report.parity.min_cosine == pytest.approx(1)
    assert report.latency is not None
    assert report.latency.provenance == "measured"
    assert "--int8" in report.trtexec
    assert "workspace:512" in report.trtexec
    built = open_artifact(path, "bundle")
    record = built.read("bundle.json", BundleRecord)
    assert record.engines == ["int8-jetson-orin-nx-16gb-sm87-tensorrt-8.6.2.engine"]
    sidecar = sidecar_of(built, record.engines[0])
    assert (sidecar.sm, sidecar.board, sidecar.jetpack) == ("sm_87", NX.model, "6.0")
    assert sidecar.target == NX.target
    assert sidecar.built_from_sha256 == sha256_file(built.file(sidecar.built_from))
    evidence = built.read(f"engines/{Path(sidecar.engine).stem}.evidence.json", BuildReport)
    assert evidence.parity == report.parity


def test_a_wrong_engine_is_followed_by_a_safer_one(
    compiled: Compiled, tmp_path: Path, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that fails its gate is followed by one in FP16, then FP32."""
    path = copy_of(compiled("jetson-orin", "int8"), tmp_path)
    golden = np.load(path / "golden_descriptors.npy")
    nothing, turned = np.full_like(golden, np.nan), -golden
    report = build_with(monkeypatch, path, FixedRunner(nothing, turned, golden))
    assert [order.precision for order in board] == ["int8", "fp16", "fp32"]
    assert [order.graph.name for order in board] == [
        "model-int8-flags.onnx", "model-fp32.onnx", "model-fp32.onnx",
    ]  # fmt: skip
    assert "NaN" in report.refused["int8"]
    assert "cosine -1.0" in report.refused["fp16"]
    (sidecar,) = report.engines
    assert sidecar.precision == "fp32"
    record = open_artifact(path, "bundle").read("bundle.json", BundleRecord)
    assert record.engines == [sidecar.engine]
    assert record.precision == "int8"


def test_a_wrong_engine_never_enters_the_bundle(
    compiled: Compiled, tmp_path: Path, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When all precisions fail, each is named and the bundle stays as it was."""
    path = copy_of(compiled("jetson-orin", "fp16"), tmp_path)
    before = open_artifact(path, "bundle").digest
    golden = np.load(path / "golden_descriptors.npy")
    with pytest.raises(NumericsError, match=r"fp16: .*cosine -1\.0.*; fp32: .*cosine -1\.0"):
        build_with(monkeypatch, path, FixedRunner(-golden, -golden))
    assert open_artifact(path, "bundle").digest == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_int8_is_held_to_what_it_was_when_compiled(compiled: Compiled) -> None:
    """The INT8 gate is the compiled graph's own parity, less 0.02."""
    bundle = open_artifact(compiled("jetson-orin", "int8"), "bundle")
    measured = bundle.read("bundle.json", BundleRecord).evidence["parity"]["min_cosine"]
    first = bundle.read(RECIPE, Recipe).steps[0]
    assert first.precision == "int8"
    assert first.min_cosine == pytest.approx(measured - 0.02, abs=1e-4)


def test_building_again_replaces_the_engine(
    compiled: Compiled, tmp_path: Path, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One engine a machine: after an update of TensorRT the old one goes, other boards' stay."""
    path = copy_of(compiled("jetson-orin", "fp16"), tmp_path)
    build_bundle(path)
    agx = jetson("jetson-agx-orin-64gb", "NVIDIA AGX Orin", "6.0")
    monkeypatch.setattr(building, "read_board", lambda: agx)
    build_bundle(path)
    monkeypatch.setattr(building, "read_board", lambda: NX)
    monkeypatch.setattr(
        on_device,
        "build_engine",
        lambda *_, **__: Engine(b"new", "8.6.9", [], 1.0, [], workspace=None),
    )
    build_bundle(path)
    built = open_artifact(path, "bundle")
    assert built.read("bundle.json", BundleRecord).engines == [
        "fp16-jetson-agx-orin-64gb-sm87-tensorrt-8.6.2.engine",
        "fp16-jetson-orin-nx-16gb-sm87-tensorrt-8.6.9.engine",
    ]
    engines = [name for name in built.manifest.files if name.endswith(".engine")]
    assert len(engines) == 2


def test_dla_where_there_is_none(
    compiled: Compiled, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before TensorRT is started, with the boards that have one."""
    path = compiled("jetson-orin", "fp16")
    nano = jetson("jetson-orin-nano-8gb", "NVIDIA Orin Nano", "6.1")
    monkeypatch.setattr(building, "read_board", lambda: nano)
    with pytest.raises(TargetError, match=r"orin-nano-8gb, which has no DLA.*agx-orin-64gb"):
        build_bundle(path, dla=0)
    with pytest.raises(UsageError, match="expected a Jetson's bundle"):
        build_bundle(compiled("cpu", "fp32"), dla=0)
    assert board == []


def test_dla_gets_fp16_with_the_gpu_behind_it(
    compiled: Compiled, tmp_path: Path, board: list[Order]
) -> None:
    """Also from an INT8 bundle, which carries its FP16 graph."""
    path = copy_of(compiled("jetson-orin", "int8"), tmp_path)
    report = build_bundle(path, dla=1)
    (order,) = board
    assert (order.precision, order.dla, order.graph.name) == ("fp16", 1, "model-fp32.onnx")
    assert report.engines[0].dla == 1
    assert report.engines[0].engine.endswith("-dla1.engine")
    assert "--useDLACore=1 --allowGPUFallback" in report.trtexec


def test_another_gpu_than_the_recipe(
    compiled: Compiled, tmp_path: Path, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Orin recipe on a Xavier: both are named."""
    monkeypatch.setattr(on_device, "first_gpu", lambda: Gpu("Xavier", 72, 8.6, 8 << 30))
    with pytest.raises(TargetError, match=r"Xavier \(sm_72\), expected jetson-orin \(sm_87\)"):
        build_bundle(copy_of(compiled("jetson-orin", "int8"), tmp_path))


def test_a_machine_without_a_gpu_or_pycuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before minutes of building an engine that could not run here."""
    monkeypatch.setattr(on_device, "find_gpus", lambda: ([], "the NVIDIA driver sees no GPU"))
    with pytest.raises(TargetError, match=r"the NVIDIA driver sees no GPU.*run edgevpr build"):
        on_device.first_gpu()
    gpu = Gpu("Orin", 87, 8.6, 8 << 30)
    monkeypatch.setattr(on_device, "find_gpus", lambda: ([gpu], ""))
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(MissingExtraError, match=r"edgevpr\[jetson\]"):
        on_device.first_gpu()


def test_a_full_disk_is_refused_before_building(
    compiled: Compiled, tmp_path: Path, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy_of(compiled("jetson-orin", "int8"), tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ResourceError, match="found 1 MiB free"):
        build_bundle(path)
    assert board == []


def test_a_killed_build_leaves_the_bundle(compiled: Compiled, tmp_path: Path) -> None:
    """Killed when all is written and nothing swapped; the next build cleans up."""
    pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    path = copy_of(compiled("rtx-ada", "fp16"), tmp_path)
    before = open_artifact(path, "bundle").digest
    code = f"""
import os
from pathlib import Path
from edgevpr.compile.engine import build_engine as build
build.write_evidence = lambda *_: os.kill(os.getpid(), 9)
build.build_bundle(Path({str(path)!r}))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert open_artifact(path, "bundle").digest == before
    assert len(list(tmp_path.iterdir())) == 2, "what the killed build left"
    report = build_bundle(path)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
    assert open_artifact(path, "bundle").file(f"engines/{report.engines[0].engine}")


def test_a_flipped_byte_in_the_plan(compiled: Compiled, tmp_path: Path) -> None:
    """The bundle is refused."""
    pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    path = copy_of(compiled("rtx-ada", "fp16"), tmp_path)
    (engine,) = (path / "engines").glob("*.engine")
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)
    with pytest.raises(CorruptArtifactError, match=rf"content of .*{engine.name} has changed"):
        open_artifact(path, "bundle")


def test_a_disk_that_fills_up(
    compiled: Compiled, tmp_path: Path, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle stays as it was, with nothing beside it."""
    path = copy_of(compiled("jetson-orin", "fp16"), tmp_path)
    before = open_artifact(path, "bundle").digest

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        build_bundle(path)
    assert open_artifact(path, "bundle").digest == before
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_too_little_memory_is_refused_before_building(
    compiled: Compiled, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "free_memory", lambda: 300 << 20)
    with pytest.raises(ResourceError, match=r"300 MiB of memory free.*stop other programs"):
        build_bundle(compiled("jetson-orin", "fp16"))
    assert board == []


def test_workspace_and_cache_of_a_machine(
    compiled: Compiled, tmp_path: Path, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Jetson's workspace is a share of free memory, a card's of its own; no cache is remarked."""
    path = copy_of(compiled("jetson-orin", "fp16"), tmp_path)
    monkeypatch.setattr(on_device, "free_memory", lambda: 2 << 30)
    build_bundle(path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEVPR_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(building, "read_board", lambda: None)
    report = build_bundle(path)
    assert [order.workspace for order in board] == [int(0.7 * (2 << 30)), int(0.7 * (8 << 30))]
    assert "no timing cache is kept" in report.remarks[0]


def test_the_report_in_words(
    compiled: Compiled,
    tmp_path: Path,
    board: list[Order],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Parity, latency, what was refused and why, and the command that does the same by hand."""
    path = copy_of(compiled("jetson-orin", "fp16"), tmp_path)
    golden = np.load(path / "golden_descriptors.npy")
    show(build_with(monkeypatch, path, FixedRunner(-golden, golden)))
    said = capsys.readouterr()
    assert said.out == ""
    for part in (
        "fp32, tensorrt 8.6.2, sm_87, jetson-orin-nx-16gb, JetPack 6.0",
        "cosine at least 1.00000",
        "one image on an engine: ",
        "fp16 was refused here: found cosine -1.0",
        "the same by hand, inside the bundle: trtexec --onnx=model-fp32.onnx",
    ):
        assert part in said.err
