"""Engines of bundles with early exits: one a graph, built together, each exit checked."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import Artifact, sha256_file
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.artifacts.sign import new_key, sign
from edgevpr.compile.engine import build_engine as building
from edgevpr.compile.engine import first_run, on_device, over_ssh
from edgevpr.compile.engine.build_engine import build_bundle
from edgevpr.compile.engine.builder import Engine, Order
from edgevpr.compile.engine.recipe import RECIPE, Recipe
from edgevpr.compile.engine.sidecars import BuildReport, sidecar_of
from edgevpr.device.board import Board
from edgevpr.device.gpu import Gpu
from edgevpr.errors import CorruptArtifactError, NumericsError

Exits = Callable[..., Path]
NX = Board("NVIDIA Jetson Orin NX", [], "jetson-orin-nx-16gb", "", "6.0", "", "", "", {})
PARTS = ("seg1", "adapt-1.0", "tail", "seg2", "adapt-2.0", "seg3")


class GoldenRunner:
    """Engines that give the golden descriptors of their bundle, but for the exits ``wrong``."""

    device = "an engine"
    wrong: tuple[str, ...] = ()

    def __init__(self, bundle: Artifact) -> None:
        record = bundle.read("bundle.json", BundleRecord)
        self.exits = tuple(exit.name for exit in record.exits)
        self.inputs = np.load(bundle.path / "golden_inputs.npy")
        self.full = np.load(bundle.path / "golden_descriptors.npy")
        early = np.load(bundle.path / "golden_exits.npy")
        self.early = dict(zip(self.exits, early, strict=False))

    def __enter__(self) -> "GoldenRunner":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def infer(self, images: np.ndarray) -> np.ndarray:
        return self.full[: len(images)]

    def start(self, images: np.ndarray) -> None:
        assert images.shape[0] == 1
        self.row = next(i for i, g in enumerate(self.inputs) if np.array_equal(g, images[0]))

    def at(self, exit: str) -> np.ndarray:
        found = self.early[exit][self.row : self.row + 1]
        return -found if exit in self.wrong else found


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """An Orin NX with a fake TensorRT 8.6; keeps the orders of builds."""
    orders: list[Order] = []

    def build_engine(runtime: str, order: Order, **_: Any) -> Engine:
        assert order.graph.is_file()
        orders.append(order)
        return Engine(order.graph.name.encode() * 99, "8.6.2", [], 1.0, [], workspace=512 << 20)

    class TensorRT:
        __version__ = "8.6.2"

    monkeypatch.setattr(on_device, "load_tensorrt", lambda _: TensorRT)
    monkeypatch.setattr(on_device, "build_engine", build_engine)
    monkeypatch.setattr(on_device, "first_gpu", lambda: Gpu("Orin", 87, 8.6, 8 << 30))
    monkeypatch.setattr(building, "read_board", lambda: NX)
    monkeypatch.setattr(first_run, "runner_from_bundle", GoldenRunner)
    return orders


def copy_of(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def test_the_recipe_covers_every_graph(compiled_exits: Exits) -> None:
    """In every step and for every release, each file there with the checksum the recipe names."""
    bundle = open_artifact(compiled_exits("jetson-orin", "int8"), "bundle")
    record = bundle.read("bundle.json", BundleRecord)
    recipe = bundle.read(RECIPE, Recipe)
    files = {graph.file for graph in record.graphs}
    assert [step.precision for step in recipe.steps] == ["int8", "fp16", "fp32"]
    assert recipe.golden_exits == "golden_exits.npy"
    for step in recipe.steps:
        assert set(step.graphs) == files
        assert set(step.min_cosines) == {"1.0", "2.0", "full"}
        for build in step.graphs.values():
            releases = [v.versions for v in build.variants if not v.dla]
            assert releases == [">=8.5,<10.0", ">=10.0,<11.0", ">=11.0,<12.0"]
            for variant in build.variants:
                assert sha256_file(bundle.path / variant.graph.file) == variant.graph.sha256
    exits = {exit.name: exit for exit in record.exits}
    for name, least in recipe.steps[0].min_cosines.items():
        assert least == pytest.approx(exits[name].min_cosine - 0.02, abs=1e-4)


def test_a_board_builds_every_graph(
    compiled_exits: Exits, tmp_path: Path, board: list[Order]
) -> None:
    """An engine a graph, named after it, and each exit's parity and latency in the report."""
    path = copy_of(compiled_exits("jetson-orin", "fp16"), tmp_path)
    report = build_bundle(path)
    assert sorted(order.graph.name for order in board) == sorted(f"{p}-fp32.onnx" for p in PARTS)
    assert {order.precision for order in board} == {"fp16"}
    built = open_artifact(path, "bundle")
    record = built.read("bundle.json", BundleRecord)
    assert len(record.engines) == len(PARTS)
    graphs = {graph.file for graph in record.graphs}
    sidecars = [sidecar_of(built, name) for name in record.engines]
    assert {sidecar.graph for sidecar in sidecars} == graphs
    for sidecar in sidecars:
        assert sidecar.engine.startswith(f"{Path(sidecar.graph).stem}-fp16-jetson-orin-nx")
        assert sidecar.built_from == sidecar.graph.replace(".onnx", "-fp32.onnx")
        assert sidecar.built_from_sha256 == sha256_file(built.file(sidecar.built_from))
        assert sidecar.graph_sha256 == record.graph_sha256
    assert list(report.exits) == ["1.0", "2.0", "full"]
    for run in report.exits.values():
        assert run.parity.min_cosine == pytest.approx(1)
        assert run.latency.rounds > 0
    evidence = built.read(f"engines/{Path(record.engines[0]).stem}.evidence.json", BuildReport)
    assert evidence.exits == report.exits
    build_bundle(path)
    again = open_artifact(path, "bundle")
    assert again.read("bundle.json", BundleRecord).engines == record.engines


def test_an_exit_that_fails_on_the_board_takes_a_safer_precision(
    compiled_exits: Exits, tmp_path: Path, board: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate looks at each exit by itself, not at the whole path alone."""
    path = copy_of(compiled_exits("jetson-orin", "fp16"), tmp_path)
    before = open_artifact(path, "bundle").digest

    class Wrong(GoldenRunner):
        wrong = ("2.0",)

    monkeypatch.setattr(first_run, "runner_from_bundle", Wrong)
    with pytest.raises(NumericsError, match=r"fp16: .*at exit 2\.0.*; fp32: .*at exit 2\.0"):
        build_bundle(path)
    assert open_artifact(path, "bundle").digest == before
    assert [order.precision for order in board] == ["fp16"] * 6 + ["fp32"] * 6


def test_a_changed_graph_is_never_built(
    compiled_exits: Exits, tmp_path: Path, board: list[Order]
) -> None:
    """The recipe's checksums are those of what is built."""
    path = copy_of(compiled_exits("jetson-orin", "fp16"), tmp_path)
    file = path / "graphs" / "seg2-fp32.onnx"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(CorruptArtifactError, match=r"seg2-fp32\.onnx"):
        build_bundle(path)
    assert not board


def test_rtx_engines_of_every_graph(compiled_exits: Exits, tmp_path: Path) -> None:
    """TensorRT-RTX takes FP16 ends; a rebuild replaces all engines."""
    pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")
    path = copy_of(compiled_exits("rtx-ada", "fp16"), tmp_path)
    bundle = open_artifact(path, "bundle")
    record = bundle.read("bundle.json", BundleRecord)
    sidecars = [sidecar_of(bundle, name) for name in record.engines]
    assert {s.graph for s in sidecars} == {graph.file for graph in record.graphs}
    assert all(s.built_from == s.graph and s.sm == "sm_89" for s in sidecars)
    assert set(record.evidence["engines"]) == set(record.engines)
    report = build_bundle(path)
    after = open_artifact(path, "bundle").read("bundle.json", BundleRecord)
    assert after.engines == record.engines == [sidecar.engine for sidecar in report.engines]
    layers = [report.layers[name].precisions for name in record.engines]
    assert any("fp16" in found for found in layers)


def test_every_engine_must_come_back_from_a_board(
    compiled_exits: Exits, tmp_path: Path, board: list[Order]
) -> None:
    """An older edgevpr there, which builds fewer, leaves the bundle as it was."""
    path = copy_of(compiled_exits("jetson-orin", "fp16"), tmp_path)
    there = Path(shutil.copytree(path, tmp_path / "there"))
    report = build_bundle(there)
    bundle = open_artifact(path, "bundle")
    record = bundle.read("bundle.json", BundleRecord)
    back = there / "engines"
    fewer = msgspec.structs.replace(report, engines=report.engines[1:], host="a board")
    with pytest.raises(CorruptArtifactError, match=r"no engine of graphs/.*from a board"):
        over_ssh._install(bundle, record, fewer, back)
    assert open_artifact(path, "bundle").digest == bundle.digest
    over_ssh._install(bundle, record, msgspec.structs.replace(report, host="a board"), back)
    assert len(open_artifact(path, "bundle").read("bundle.json", BundleRecord).engines) == 6


def test_a_signature_covers_graphs_and_engines(compiled_exits: Exits, tmp_path: Path) -> None:
    """A graph exchanged after signing is found, even by someone who rewrites the manifest."""
    path = copy_of(compiled_exits("jetson-orin", "fp16"), tmp_path)
    new_key(tmp_path / "key.pem")
    sign(path, tmp_path / "key.pem", kind="bundle")
    files = msgspec.json.decode((path / "signature.json").read_bytes())["files"]
    assert {f"graphs/{part}.onnx" for part in PARTS} <= set(files)
    assert "golden_exits.npy" in files


def test_a_cpu_bundle_is_checked_exit_by_exit(
    compiled_exits: Exits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``build`` on a bundle without engines runs its graphs, each exit at the gate."""
    path = compiled_exits("cpu", "fp32")
    monkeypatch.setattr(first_run, "runner_from_bundle", GoldenRunner)
    report = build_bundle(path)
    assert list(report.exits) == ["1.0", "2.0", "full"]
    assert "its graphs as they are" in report.remarks[0]


def test_sidecars_of_one_graph_are_as_before() -> None:
    """A bundle without exits says nothing of graphs."""
    fields = {f.name: f.default for f in msgspec.structs.fields(EngineSidecar)}
    assert fields["graph"] == ""


@pytest.mark.parametrize("exits", ["together", "separate"])
def test_the_runner_gives_golden_descriptors_at_every_exit(
    compiled_exits: Exits, exits: str
) -> None:
    """No fakes: the bundle as compiled, through the runner that a robot has."""
    pytest.importorskip("onnxruntime")
    report = build_bundle(compiled_exits("cpu", "fp32", exits))
    assert list(report.exits) == ["1.0", "2.0", "full"]
    assert all(run.parity.min_cosine > 0.99999 for run in report.exits.values())
