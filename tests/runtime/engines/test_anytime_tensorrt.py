"""TensorRT with early exits on a simulated GPU: an engine a graph, buffers between them."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.artifacts.records import BundleRecord, EngineSidecar, GraphRecord
from edgevpr.errors import CorruptArtifactError, EngineMissingError
from edgevpr.runtime.engines import cuda_graph, engine_choice, tensorrt
from edgevpr.runtime.engines.tensorrt import TensorRTRunner

from ..anytime import EXITS, WAYS, digest, write_anytime_bundle
from ..build import DIM, SIDE
from . import fake_cuda
from .fake_cuda import Gpu, Stage

Make = Callable[..., tuple[TensorRTRunner, Gpu]]

IMAGE = ("images", (1, SIDE, SIDE, 3), "uint8")
STATE = ("state", (1, 12), "float16")
STATE_OUT = ("state_out", (1, 12), "float16")
TOKENS = ("tokens", (1, 4, 3), "float16")
DESCRIPTOR = ("descriptor", (1, DIM), "float32")


def colours(images: np.ndarray) -> np.ndarray:
    return np.asarray(images.reshape(1, 4, -1, 3).mean(axis=2).reshape(1, 12))


STAGES = {
    "graphs/seg1.onnx": Stage(IMAGE, STATE, colours),
    "graphs/seg2.onnx": Stage(STATE, STATE_OUT, lambda x: x * 2),
    "graphs/seg3.onnx": Stage(STATE, TOKENS, lambda x: (x + 3).reshape(1, 4, 3)),
    "graphs/adapt-L4.onnx": Stage(STATE, TOKENS, lambda x: (x + 1).reshape(1, 4, 3)),
    "graphs/adapt-L8.onnx": Stage(STATE, TOKENS, lambda x: (x - 1).reshape(1, 4, 3)),
    "graphs/tail.onnx": Stage(TOKENS, DESCRIPTOR, lambda x: np.tile(x.reshape(1, 12), DIM // 12)),
    "model.onnx": Stage(IMAGE, DESCRIPTOR, lambda x: np.tile(colours(x) * 5, DIM // 12)),
}


@pytest.fixture(autouse=True)
def _stages(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = {f"plan of {file}".encode(): stage for file, stage in STAGES.items()}
    monkeypatch.setattr(fake_cuda, "STAGES", plans)


def in_half(record: BundleRecord) -> BundleRecord:
    """The record for a GPU: float16 between the graphs."""
    graphs = []
    for graph in record.graphs:
        stage = STAGES[graph.file]
        graphs.append(
            msgspec.structs.replace(
                graph, precision="fp16", input_type=stage.input[2], output_type=stage.output[2]
            )
        )
    engines = [Path(graph.file).stem for graph in graphs]
    if record.exits[-1].graphs == ["model.onnx"]:
        engines.append("model")
    return msgspec.structs.replace(record, precision="fp16", graphs=graphs, engines=engines)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A runner on a new fake GPU; ``change`` alters each sidecar."""
    monkeypatch.setenv("EDGEVPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(engine_choice, "this_board", lambda: "")

    def new(
        runtime: str = "tensorrt",
        *,
        whole: bool = False,
        change: Callable[[EngineSidecar], EngineSidecar | None] = lambda sidecar: sidecar,
        **gpu_options: Any,
    ) -> tuple[TensorRTRunner, Gpu]:
        gpu = Gpu(**gpu_options)
        libraries = fake_cuda.tensorrt(gpu), fake_cuda.pycuda(gpu)
        monkeypatch.setattr(tensorrt, "load_libraries", lambda *_: libraries)
        monkeypatch.setattr(cuda_graph, "load_driver", lambda: fake_cuda.Driver(gpu))

        def extra(folder: Path) -> None:
            (folder / "engines").mkdir()
            files = sorted((folder / "graphs").iterdir())
            names = [f"graphs/{file.name}" for file in files]
            records = [
                GraphRecord(name, sha256_file(folder / name), "fp16", "", "", [], [], "", "")
                for name in names
            ]
            bundle_digest = digest(folder, records)
            for name in [*names, *(["model.onnx"] if whole else [])]:
                stem = Path(name).stem
                (folder / f"engines/{stem}.engine").write_bytes(f"plan of {name}".encode())
                sidecar = EngineSidecar(
                    engine=f"{stem}.engine",
                    sha256=sha256_file(folder / f"engines/{stem}.engine"),
                    graph_sha256=bundle_digest,
                    precision="fp16",
                    runtime=runtime,
                    version="10.3.0",
                    sm="sm_87",
                    board="fake",
                    flags=[],
                    build_seconds=1.0,
                    built_from=name,
                    graph="" if name == "model.onnx" else name,
                    built_from_sha256="" if name == "model.onnx" else sha256_file(folder / name),
                )
                written = change(sidecar)
                if written is not None:
                    write_json(folder / f"engines/{stem}.json", written)
                else:
                    dead = msgspec.structs.replace(sidecar, sm="sm_110")
                    write_json(folder / f"engines/{stem}.json", dead)

        path = write_anytime_bundle(
            tmp_path / "b", runtime=runtime, whole=whole, change=in_half, extra=extra
        )
        bundle = open_artifact(path, "bundle")
        return TensorRTRunner(bundle, bundle.read("bundle.json", BundleRecord)), gpu

    return new


def images(count: int = 3) -> np.ndarray:
    shape = (count, SIDE, SIDE, 3)
    return np.random.default_rng(5).integers(0, 256, shape).astype(np.uint8)


def expected(exit: str, image: np.ndarray, whole: bool) -> np.ndarray:
    value = image[None]
    for file in ["model.onnx"] if whole and exit == "full" else WAYS[exit]:
        stage = STAGES[file]
        value = stage.function(value).astype(stage.output[2])
    return value


def check_released(gpu: Gpu) -> None:
    gc.collect()
    assert gpu.wrong == []
    assert gpu.alive == []
    assert set(gpu.current.values()) <= {0}


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("broken", ["", "recording"])
@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("whole", [False, True])
def test_every_exit_from_everywhere(
    make: Make, integrated: bool, broken: str, runtime: str, whole: bool
) -> None:
    """In any order of exits on one frame after another, recorded or not, with one graph for the
    whole path or segments: each descriptor is its own, and everything is freed."""
    runner, gpu = make(runtime, whole=whole, integrated=integrated, broken=broken)
    order = np.random.default_rng(0)
    with runner:
        assert runner.exits == EXITS
        for _ in range(15):
            i = int(order.integers(3))
            runner.start(images()[i : i + 1])
            for exit in order.choice(EXITS, 4):
                np.testing.assert_array_equal(
                    runner.at(exit), expected(exit, images()[i], whole), err_msg=exit
                )
        together = runner.infer(images())
    full = [expected("full", image, whole) for image in images()]
    np.testing.assert_array_equal(together, np.concatenate(full))
    check_released(gpu)


def test_one_launch_a_way_and_no_allocation(make: Make) -> None:
    """Three ways from the image and three on from a shallower exit are recorded when it loads;
    then a frame is one launch, going on is another one, and nothing is allocated."""
    runner, gpu = make()
    with runner:
        assert "6 CUDA graphs" in runner.device
        assert gpu.calls.count("gpu memory") == 2 + 3  # both ends; state, state_out, tokens
        assert gpu.calls.count("host memory") == 2
        loaded = len(gpu.calls)
        for exit in EXITS:
            runner.start(images()[:1])
            runner.at(exit)
        runner.start(images()[1:2])
        runner.at("L4")
        runner.at("full")
        runner.at("full")
        assert gpu.calls[loaded:] == ["launch"] * 5
    check_released(gpu)


def test_without_graphs_going_on_runs_only_what_is_missing(make: Make) -> None:
    runner, gpu = make(broken="recording")
    with runner:
        assert "no CUDA graph" in runner.device
        runner.start(images()[:1])
        runner.at("L4")
        before = gpu.calls.count("execute")
        runner.at("full")
        assert gpu.calls.count("execute") - before == 3
    check_released(gpu)


def test_only_the_owner_may_use_it(make: Make) -> None:
    runner, gpu = make()
    errors: list[BaseException] = []

    def other() -> None:
        for call in (lambda: runner.start(images()[:1]), lambda: runner.at("L4")):
            try:
                call()
            except RuntimeError as error:
                errors.append(error)

    with runner:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(errors) == 2
    check_released(gpu)


@pytest.mark.parametrize("broken", ["memory", "names", "execute", "synchronize"])
def test_what_fails_while_loading_is_freed(make: Make, broken: str) -> None:
    runner, gpu = make(broken=broken)
    with pytest.raises(Exception, match="expected") as caught, runner:
        pass
    del caught
    check_released(gpu)


def test_a_graph_without_an_engine(make: Make) -> None:
    """The one that is missing is named."""

    def without_tail(sidecar: EngineSidecar) -> EngineSidecar | None:
        return None if "tail" in sidecar.built_from else sidecar

    runner, _ = make(change=without_tail)
    with (
        pytest.raises(
            EngineMissingError, match=r"of graphs/tail\.onnx in .*expected one for tensorrt"
        ),
        runner,
    ):
        pass


def test_an_engine_of_another_graph(make: Make) -> None:
    """By its sidecar's digest, and by its tensors."""

    def other(sidecar: EngineSidecar) -> EngineSidecar:
        if "adapt-L4" not in sidecar.built_from:
            return sidecar
        return msgspec.structs.replace(sidecar, built_from_sha256="0" * 64)

    runner, _ = make(change=other)
    with pytest.raises(CorruptArtifactError, match=r"built from another graph.*adapt-L4"), runner:
        pass

    def swapped(sidecar: EngineSidecar) -> EngineSidecar:
        names = {"graphs/seg3.onnx": "graphs/tail.onnx", "graphs/tail.onnx": "graphs/seg3.onnx"}
        return msgspec.structs.replace(sidecar, graph=names.get(sidecar.graph, sidecar.graph))

    runner, gpu = make(change=swapped)
    with pytest.raises(CorruptArtifactError, match="with the tensors"), runner:
        pass
    check_released(gpu)
