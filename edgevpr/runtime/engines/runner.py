"""Runners of engines: the protocol, ONNX Runtime, and the choice by a bundle's record."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.errors import ArtifactError, ArtifactVersionError, TargetError
from edgevpr.optional import require


class Runner(Protocol):
    """A ``with`` block; ``infer`` is called by the thread that entered it."""

    #: engine and device in words, for reports.
    device: str

    def __enter__(self) -> "Runner": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, H, W, 3) uint8 RGB, contiguous -> (B, d) float32, L2-normalized.

        Rows of the result belong to the caller. A runner may work on one image at a time.
        """


class OnnxRunner:
    """ONNX Runtime on the CPU: target ``cpu``, and the reference for every other engine.

    Args:
        model: the graph; one input (1, H, W, 3) uint8, one output (1, d) float32.
        threads: threads one inference is spread over; 0: one per core.

    Raises:
        ArtifactVersionError: the installed ONNX Runtime does not know the graph's operators.
        ArtifactError: the graph takes or gives something else.
    """

    def __init__(self, model: Path, *, threads: int = 0) -> None:
        ort = require("onnxruntime", extra="compile")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own for each failure
            first = str(error).strip().splitlines()[0]
            raise ArtifactVersionError(
                f"found {model}, which ONNX Runtime {ort.__version__} cannot load ({first}), "
                "expected a graph that it knows: run pip install --upgrade onnxruntime, or "
                "edgevpr compile MODEL again on this machine"
            ) from error
        (self._input,) = self._session.get_inputs()
        (self._output,) = self._session.get_outputs()
        if self._input.type != "tensor(uint8)" or len(self._input.shape) != 4:
            raise ArtifactError(
                f"found {model} with the input {self._input.type} {self._input.shape}, expected "
                "tensor(uint8) (1, H, W, 3): run edgevpr compile MODEL again"
            )
        self._names = [self._output.name]
        self.device = f"ONNX Runtime {ort.__version__}, CPU, {threads or 'all'} threads"

    def __enter__(self) -> "OnnxRunner":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = [
            self._session.run(self._names, {self._input.name: images[i : i + 1]})[0]
            for i in range(len(images))
        ]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)


def _onnx(bundle: Artifact, record: BundleRecord, threads: int) -> Runner:
    return OnnxRunner(bundle.file("model.onnx"), threads=threads)


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
