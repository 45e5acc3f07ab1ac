"""The TensorRT runner on a simulated GPU (order, ownership, release) and on a real one."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.errors import CorruptArtifactError, ResourceError, TargetError
from edgevpr.runtime import Gallery, Localizer, LocalizerThread
from edgevpr.runtime.engines import cuda_graph, engine_choice, tensorrt
from edgevpr.runtime.engines.tensorrt import TensorRTRunner

from ..build import World, frame, place_image, write_bundle
from . import fake_cuda
from .fake_cuda import DIM, ENGINE, SIDE, Gpu

Make = Callable[..., tuple[TensorRTRunner, Gpu]]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A runner on a new fake GPU."""
    monkeypatch.setenv("EDGEVPR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(engine_choice, "this_board", lambda: "")

    def new(runtime: str = "tensorrt", **gpu_options: Any) -> tuple[TensorRTRunner, Gpu]:
        gpu = Gpu(**gpu_options)
        libraries = fake_cuda.tensorrt(gpu), fake_cuda.pycuda(gpu)
        monkeypatch.setattr(tensorrt, "load_libraries", lambda *_: libraries)
        monkeypatch.setattr(cuda_graph, "load_driver", lambda: fake_cuda.Driver(gpu))

        def extra(folder: Path) -> None:
            (folder / "engines").mkdir()
            (folder / "engines" / "fake.engine").write_bytes(ENGINE)
            sidecar = EngineSidecar(
                engine="fake.engine",
                sha256=sha256_file(folder / "engines" / "fake.engine"),
                graph_sha256=sha256_file(folder / "model.onnx"),
                precision="fp16",
                runtime=runtime,
                version="10.3.0",
                sm="sm_87",
                board="fake",
                flags=[],
                build_seconds=1.0,
            )
            write_json(folder / "engines" / "fake.json", sidecar)

        path = write_bundle(tmp_path / "b", runtime=runtime, engines=["fake"], extra=extra)
        bundle = open_artifact(path, "bundle")
        return TensorRTRunner(bundle, bundle.read("bundle.json", BundleRecord)), gpu

    return new


def images(count: int = 3) -> np.ndarray:
    shape = (count, SIDE, SIDE, 3)
    return np.random.default_rng(5).integers(0, 256, shape).astype(np.uint8)


def check_released(gpu: Gpu) -> None:
    gc.collect()
    assert gpu.wrong == []
    assert gpu.alive == []
    assert set(gpu.current.values()) <= {0}


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize("broken", ["", "recording"])
@pytest.mark.parametrize("runtime", ["tensorrt", "tensorrt-rtx"])
def test_results_are_those_of_their_images(
    make: Make, integrated: bool, broken: str, runtime: str
) -> None:
    """Each result is of its own image, read when the GPU is done and kept: with copies and mapped
    memory, with a CUDA graph and without."""
    runner, gpu = make(runtime, integrated=integrated, broken=broken)
    expected = np.concatenate([fake_cuda.network(i[None]) for i in images()])
    with runner:
        together = runner.infer(images())
        one = runner.infer(images()[1:2])
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(one, expected[1:2])
    del together, one
    check_released(gpu)


def test_one_graph_and_buffers_once(make: Make) -> None:
    """Memory is allocated once; the graph is recorded after a first run, and replayed."""
    runner, gpu = make()
    with runner:
        assert "CUDA graph" in runner.device
        loaded = list(gpu.calls)
        runner.infer(images(5))
        during = gpu.calls[len(loaded) :]
    assert loaded.index("execute") < loaded.index("execute, recorded")
    assert loaded.count("host memory") == loaded.count("gpu memory") == 2
    assert during == ["launch"] * 5
    check_released(gpu)


def test_jetson_copies_nothing(make: Make) -> None:
    """CPU and GPU share one memory there."""
    runner, gpu = make(integrated=True)
    with runner:
        runner.infer(images())
    assert "copy" not in gpu.calls
    assert "gpu memory" not in gpu.calls


def test_engine_that_cannot_be_recorded(make: Make) -> None:
    """Recording is ended on the stream, and the engine runs without a graph."""
    runner, gpu = make(broken="recording")
    with runner:
        assert "no CUDA graph" in runner.device
        runner.infer(images(2))
        assert gpu.calls.count("execute") == 3
    check_released(gpu)


def test_driver_without_graphs(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, gpu = make()
    monkeypatch.setattr(cuda_graph, "load_driver", object)
    with runner:
        assert "no CUDA graph" in runner.device
        assert runner.infer(images(1)).shape == (1, DIM)
    check_released(gpu)


def test_only_the_owner_may_use_it(make: Make) -> None:
    runner, gpu = make()
    errors: list[BaseException] = []

    def other() -> None:
        try:
            runner.infer(images(1))
        except BaseException as error:
            errors.append(error)

    with runner:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    with pytest.raises(RuntimeError, match="the thread that entered it"):
        raise errors[0]
    with pytest.raises(RuntimeError, match="the thread that entered it"):
        runner.infer(images(1))
    check_released(gpu)


def test_in_a_localizer_thread(make: Make, world: World) -> None:
    """The engine is opened, used and closed by one thread, not by the caller's."""
    runner, gpu = make()
    localizer = Localizer(runner, Gallery(world.gallery), runner._record.preprocess)
    with LocalizerThread(lambda: localizer) as worker:
        worker.submit(frame(place_image(3)))
        worker.result()
    check_released(gpu)
    assert threading.get_ident() not in gpu.current


@pytest.mark.parametrize(
    ("broken", "error", "words"),
    [
        ("memory", ResourceError, "no memory left"),
        ("names", CorruptArtifactError, "logits"),
        ("execute", TargetError, "could not run"),
        ("synchronize", TargetError, "illegal memory access"),
    ],
)
def test_what_fails_while_loading(
    make: Make, broken: str, error: type[Exception], words: str
) -> None:
    """GPU memory and context are released by an engine that does not load."""
    runner, gpu = make(broken=broken)
    with pytest.raises(error, match=words) as caught, runner:
        pass
    assert "\n" not in str(caught.value)
    # The traceback holds the frames, and they what was made in them.
    del caught
    check_released(gpu)


def test_gpu_that_fails_at_work(make: Make) -> None:
    """The error is one sentence with CUDA's reason."""
    runner, gpu = make()

    def fail() -> None:
        with runner:
            gpu.broken = "synchronize"
            runner.infer(images(1))

    with pytest.raises(TargetError, match=r"illegal memory access.*start again"):
        fail()
    check_released(gpu)


def test_rtx_keeps_what_it_compiled(make: Make, tmp_path: Path) -> None:
    """Compiled kernels are reused at the next start; a damaged cache is replaced."""
    runner, gpu = make("tensorrt-rtx")
    with runner:
        (kept,) = (tmp_path / "cache").iterdir()
        assert kept.read_bytes() == b"kernels of this engine"
    assert not [c for c in gpu.calls if c.startswith("cache")]
    for held in (b"kernels of this engine", b"damaged"):
        kept.write_bytes(held)
        runner, gpu = make("tensorrt-rtx")
        with runner:
            assert f"cache {held!r}" in gpu.calls
        assert kept.read_bytes() == b"kernels of this engine"
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("no folder")
    runner, _ = make("tensorrt-rtx")
    with runner:
        assert runner.infer(images(1)).shape == (1, DIM)


def test_says_that_a_safer_engine_runs(make: Make) -> None:
    """The device names the precision of the engine that runs, not the bundle's."""
    runner, _ = make()
    with runner:
        assert runner.device.endswith(", fp16 engine, CUDA graph")


@pytest.mark.gpu
def test_on_a_real_gpu() -> None:
    """Descriptors are the golden ones, and memory is given back. EDGEVPR_GPU_BUNDLE names a bundle
    built on this machine (edgevpr compile, edgevpr build)."""
    import os

    path = os.environ.get("EDGEVPR_GPU_BUNDLE")
    if not path:
        pytest.skip("set EDGEVPR_GPU_BUNDLE to a bundle built on this machine")
    cuda = pytest.importorskip("pycuda.driver")
    bundle = open_artifact(Path(path), "bundle")
    record = bundle.read("bundle.json", BundleRecord)
    inputs = np.load(bundle.file("golden_inputs.npy"))
    golden = np.load(bundle.file("golden_descriptors.npy"))
    free = []
    for _ in range(4):
        with TensorRTRunner(bundle, record) as runner:
            first, again = runner.infer(inputs), runner.infer(inputs)
            free.append(cuda.mem_get_info()[0])
        np.testing.assert_allclose(first, again, atol=1e-6)
        # fp16 and INT8 stay this close to FP32 where the bundle's own parity gate passed
        assert (first * golden).sum(axis=1).min() > 0.95
    assert free[-1] >= free[1] - (8 << 20)
