"""TensorRT 8.6 to 11 and TensorRT-RTX through pycuda.

One owner thread, the device's primary context, buffers allocated once: a context per thread, or
a second one beside PyTorch's, is what most hanging TensorRT programs have in common.
"""

import hashlib
import importlib
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifact import Artifact
from edgevpr.errors import (
    CorruptArtifactError,
    EngineMissingError,
    NumericsError,
    TargetError,
)
from edgevpr.records import BundleRecord, EngineSidecar
from edgevpr.targets import this_board

#: module, and how it is installed.
_LIBRARIES = {
    "tensorrt": (
        "tensorrt",
        "on a Jetson install python3-libnvinfer with apt and pycuda with pip install "
        "'edgevpr[jetson]', on a PC run pip install 'edgevpr[cuda]'",
    ),
    "tensorrt-rtx": ("tensorrt_rtx", "run pip install 'edgevpr[rtx]' pycuda"),
}


class TensorRTRunner:
    """An engine of a bundle on the first CUDA device.

    Raises:
        TargetError: no library, no GPU, or no engine for this GPU and TensorRT version.
        CorruptArtifactError: the engine file is not the one its sidecar describes.
    """

    def __init__(self, bundle: Artifact, record: BundleRecord) -> None:
        self._bundle, self._record = bundle, record
        self._trt, self._cuda = load_libraries(record.runtime, bundle.path)
        self.device = f"{record.runtime} {self._trt.__version__}"

    def __enter__(self) -> "TensorRTRunner":
        cuda, trt = self._cuda, self._trt
        gpu = cuda.Device(0)
        major, minor = gpu.compute_capability()
        sidecar, plan = choose_engine(
            self._bundle, self._record, trt.__version__, f"sm_{major}{minor}", this_board()
        )
        self.device = f"{self._record.runtime} {trt.__version__}, {gpu.name()}"
        self._owner = threading.get_ident()
        self._cuda_context = gpu.retain_primary_context()
        self._cuda_context.push()
        try:
            self._load(sidecar, plan)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _load(self, sidecar: EngineSidecar, plan: bytes) -> None:
        cuda, trt, record = self._cuda, self._trt, self._record
        path = self._bundle.path / "engines" / sidecar.engine
        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        if sidecar.dla is not None:
            runtime.DLA_core = sidecar.dla
        engine = runtime.deserialize_cuda_engine(plan)
        context = engine.create_execution_context() if engine is not None else None
        if context is None:
            raise TargetError(
                f"{self.device} refused {path}; its own message stands above: run edgevpr build "
                f"{self._bundle.path} on this machine"
            )
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        if sorted(names) != sorted([record.input, record.output]):
            raise CorruptArtifactError(
                f"{path} has the tensors {', '.join(names)}, expected {record.input} and "
                f"{record.output}: run edgevpr build {self._bundle.path} again"
            )
        self._stream = cuda.Stream()
        self._host: dict[str, Any] = {}
        self._gpu: dict[str, Any] = {}
        expected = {record.input: trt.DataType.UINT8, record.output: trt.DataType.FLOAT}
        for name in names:
            shape, found = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
            if found != expected[name] or min(shape) < 1:
                raise CorruptArtifactError(
                    f"{path} has tensor {name} of {found} {shape}, expected {expected[name]} of a "
                    "fixed shape: run edgevpr compile again, then edgevpr build "
                    f"{self._bundle.path}"
                )
            dtype = np.uint8 if name == record.input else np.float32
            self._host[name] = cuda.pagelocked_empty(shape, dtype)
            self._gpu[name] = cuda.mem_alloc(self._host[name].nbytes)
            context.set_tensor_address(name, int(self._gpu[name]))
        # The engine must outlive its context, and the runtime its engine.
        self._keep: tuple[Any, ...] = (runtime, engine, context)

    def __exit__(self, *_: object) -> None:
        # In reverse order of making; each frees its memory when its last name goes.
        self._host, self._gpu = {}, {}
        self._stream = None
        while getattr(self, "_keep", ()):
            self._keep = self._keep[:-1]
        self._cuda_context.pop()
        self._cuda_context = None

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, H, W, 3) uint8 RGB -> (B, d) float32, one image at a time."""
        if threading.get_ident() != self._owner:
            raise RuntimeError("a TensorRT runner is used by the thread that entered it")
        rows = np.empty((len(images), self._record.output_dim), np.float32)
        for image, row in zip(images, rows, strict=True):
            self._infer_one(image, row)
        return rows

    def _infer_one(self, image: NDArray[np.uint8], row: NDArray[np.float32]) -> None:
        cuda, names = self._cuda, (self._record.input, self._record.output)
        context = self._keep[2]
        host_in, host_out = (self._host[name] for name in names)
        np.copyto(host_in[0], image)
        cuda.memcpy_htod_async(self._gpu[names[0]], host_in, self._stream)
        if not context.execute_async_v3(self._stream.handle):
            raise NumericsError(
                f"{self.device} could not run the engine; its own message stands above: run "
                f"edgevpr build {self._bundle.path} again"
            )
        cuda.memcpy_dtoh_async(host_out, self._gpu[names[1]], self._stream)
        self._stream.synchronize()
        np.copyto(row, host_out.reshape(-1))


def load_libraries(runtime: str, bundle: Path) -> tuple[ModuleType, Any]:
    """The TensorRT module and ``pycuda.driver``, initialized, with at least one GPU.

    Raises:
        TargetError: says which is missing, how to get it, and what runs here instead.
    """
    fallback = "or use a bundle compiled with --target cpu"
    name, install = _LIBRARIES[runtime]
    found: list[Any] = []
    for module in (name, "pycuda.driver"):
        try:
            found.append(importlib.import_module(module))
        except (ImportError, OSError) as error:  # OSError: a library of the driver is missing
            raise TargetError(
                f"{bundle} needs {runtime} and pycuda, but {module} cannot be imported here "
                f"({_first_line(error)}): {install}, {fallback}"
            ) from error
    trt, cuda = found
    try:
        cuda.init()
        count = cuda.Device.count()
    except Exception as error:  # pycuda's errors derive from Exception alone
        raise TargetError(
            f"{bundle} needs an NVIDIA GPU, but CUDA does not start here ({_first_line(error)}): "
            f"run it on the device it was built for, {fallback}"
        ) from error
    if count == 0:
        raise TargetError(
            f"{bundle} needs an NVIDIA GPU and this machine has none: run it on the device it was "
            f"built for, {fallback}"
        )
    return trt, cuda


def choose_engine(
    bundle: Artifact, record: BundleRecord, version: str, sm: str, board: str = ""
) -> tuple[EngineSidecar, bytes]:
    """The engine of a bundle for this TensorRT version, GPU and board, its content checked.

    Engines are not portable between GPU generations, TensorRT builds or Jetson boards: what differs
    is said here, from the sidecar, before TensorRT sees the bytes. They are the very bytes hashed.

    Args:
        board: device profile of this Jetson, the empty string on other machines.

    Raises:
        EngineMissingError: none fits.
        CorruptArtifactError: one fits but is not the file, or not of the graph, it claims.
    """
    again = f"run edgevpr build {bundle.path} on this machine"
    there = []
    for name in record.engines:
        stem = Path(name).name.removesuffix(".engine")
        sidecar = bundle.read(f"engines/{stem}.json", EngineSidecar)
        there.append(_place(sidecar.runtime, sidecar.version, sidecar.sm, sidecar.target))
        if (sidecar.runtime, sidecar.version, sidecar.sm) != (record.runtime, version, sm):
            continue
        if sidecar.target not in ("", board):
            continue
        path = bundle.file(f"engines/{stem}.engine")
        plan = path.read_bytes()
        if hashlib.sha256(plan).hexdigest() != sidecar.sha256:
            raise CorruptArtifactError(f"{path} is not the engine its sidecar describes: {again}")
        if sidecar.graph_sha256 != record.graph_sha256:
            raise CorruptArtifactError(
                f"{path} was built from another graph than {bundle.path / 'model.onnx'}: {again}"
            )
        return sidecar, plan
    raise EngineMissingError(
        f"{bundle.path} has {'engines for ' + ', '.join(there) if there else 'no engine yet'}, "
        f"this machine has {_place(record.runtime, version, sm, board)}: {again}, or use a bundle "
        "compiled with --target cpu"
    )


def _place(runtime: str, version: str, sm: str, board: str) -> str:
    return f"{runtime} {version} on {sm}{f' of a {board}' if board else ''}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
