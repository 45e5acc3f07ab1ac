"""Runners of engines: the protocol, ONNX Runtime, and the choice by a bundle's record."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.errors import CorruptArtifactError, TargetError
from edgevpr.runtime.engines.onnx_contract import GraphEnds, check_graph
from edgevpr.runtime.engines.onnx_session import onnx_device, onnx_session


class Runner(Protocol):
    """A ``with`` block; ``infer`` is called by the thread that entered it."""

    #: engine and device in words, for reports.
    device: str
    #: early exits, earliest first, and "full" last; none of a network with one way through it.
    exits: tuple[str, ...]

    def __enter__(self) -> "Runner": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, H, W, 3) uint8 RGB, contiguous -> (B, d) float32, L2-normalized.

        Rows of the result belong to the caller. A runner may work on one image at a time; one
        with exits goes the whole path.
        """


class AnytimeRunner(Runner, Protocol):
    """A runner with early exits; what it has computed of a frame is kept for a deeper exit."""

    def start(self, images: NDArray[np.uint8]) -> None:
        """A new frame: (1, H, W, 3) uint8 RGB. Nothing runs yet."""

    def at(self, exit: str) -> NDArray[np.float32]:
        """(1, d) descriptor of the frame started last at one of ``exits``, L2-normalized.

        Only what no exit of this frame has computed before is computed. The row belongs to the
        caller.
        """


class OnnxRunner:
    """ONNX Runtime on the CPU: target ``cpu``, and the reference for every other engine.

    Args:
        model: the graph; one input (1, H, W, 3) uint8, one output (1, d) float32.
        threads: threads one inference is spread over; 0: one per core.
        data: the content of ``model``, where it has been read and checked already.

    Raises:
        CorruptArtifactError: no graph, or one that takes, gives or holds something else.
        ArtifactVersionError: the installed ONNX Runtime does not know the graph's operators.
    """

    def __init__(self, model: Path, *, threads: int = 0, data: bytes | None = None) -> None:
        data = _read(model) if data is None else data
        #: names and shapes of the graph's input and output.
        self.ends = check_graph(data, model)
        self._session = onnx_session(data, model, threads)
        self._names = [self.ends.output]
        self.device = onnx_device(threads)
        self.exits: tuple[str, ...] = ()

    def __enter__(self) -> "OnnxRunner":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = [
            self._session.run(self._names, {self.ends.input: images[i : i + 1]})[0]
            for i in range(len(images))
        ]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)


def _onnx(bundle: Artifact, record: BundleRecord, threads: int) -> Runner:
    if record.exits:
        from edgevpr.runtime.engines.anytime_onnx import AnytimeOnnxRunner

        return AnytimeOnnxRunner(bundle, record, threads=threads)
    graph = bundle.path / "model.onnx"
    runner = OnnxRunner(graph, threads=threads, data=bundle.bytes("model.onnx"))
    size = record.preprocess
    expected = GraphEnds(
        record.input, record.output, (1, size.height, size.width, 3), (1, record.output_dim)
    )
    if runner.ends != expected:
        raise CorruptArtifactError(
            f"found {graph} from {runner.ends}, expected from {expected}, as in its bundle.json: "
            "run edgevpr compile MODEL again"
        )
    return runner


def _read(model: Path) -> bytes:
    try:
        return model.read_bytes()
    except OSError as error:
        raise CorruptArtifactError(
            f"found {model} unreadable ({error.strerror}), expected an ONNX graph: run edgevpr "
            "compile MODEL again"
        ) from error


def _tensorrt(bundle: Artifact, record: BundleRecord, threads: int) -> Runner:
    from edgevpr.runtime.engines.tensorrt import TensorRTRunner

    return TensorRTRunner(bundle, record)


_RUNNERS: dict[str, Callable[[Artifact, BundleRecord, int], Runner]] = {
    "onnxruntime": _onnx,
    "tensorrt": _tensorrt,
    "tensorrt-rtx": _tensorrt,
}


def runner_from_bundle(
    bundle: Artifact, record: BundleRecord | None = None, *, threads: int = 0
) -> Runner:
    """The runner for a bundle's engine, ready for its ``with`` block.

    Raises:
        TargetError: the engine cannot run on this machine; says what is missing and the fallback.
    """
    record = record or bundle.read("bundle.json", BundleRecord)
    make = _RUNNERS.get(record.runtime)
    if make is None:
        raise TargetError(
            f"found {bundle.path} for the engine {record.runtime!r}, expected one of "
            f"{', '.join(_RUNNERS)}: install a newer edgevpr, or run edgevpr compile MODEL "
            "--target cpu"
        )
    return make(bundle, record, threads)
