"""Runner of TensorRT 8.6 to 11 and TensorRT-RTX engines through pycuda.

One owner thread, the device's primary context, buffers allocated once: a context per thread, or
a second one beside PyTorch's, can hang. After a warm-up, copies and engine are one CUDA graph
where the engine allows it; TensorRT-RTX records its own.
"""

import hashlib
import importlib
import threading
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.artifacts.trust import check_engine_trusted
from edgevpr.device.targets import this_board
from edgevpr.errors import CorruptArtifactError, EngineMissingError, ResourceError, TargetError
from edgevpr.printable import shell_word
from edgevpr.runtime.engines import rtx_cache
from edgevpr.runtime.engines.cuda_buffer import Buffer, is_integrated
from edgevpr.runtime.engines.cuda_graph import CudaGraph
from edgevpr.runtime.engines.cuda_graph import record as record_graph

#: module, and how it is installed.
_LIBRARIES = {
    "tensorrt": (
        "tensorrt",
        "on a Jetson install python3-libnvinfer with apt and pycuda with pip install "
        "'edgevpr[jetson]', on a PC run pip install 'edgevpr[cuda]'",
    ),
    "tensorrt-rtx": ("tensorrt_rtx", "run pip install 'edgevpr[rtx]' pycuda"),
}


#: The way out without a GPU.
_ON_CPU = "edgevpr compile MODEL --target cpu"

#: CU_STREAM_NON_BLOCKING: work of other libraries on the default stream does not wait for ours.
_NON_BLOCKING = 1


class TensorRTRunner:
    """An engine of a bundle on the first CUDA device; a ``with`` block, owned by its thread.

    Raises:
        TargetError: no library, no GPU, or no engine for this GPU and TensorRT version; the GPU
            fails while it runs.
        CorruptArtifactError: the engine file is not the one its sidecar describes.
        ResourceError: the GPU's memory is full.
    """

    def __init__(self, bundle: Artifact, record: BundleRecord) -> None:
        self._bundle, self._record = bundle, record
        self._trt, self._cuda = load_libraries(record.runtime, bundle.path)
        self.device = f"{record.runtime} {self._trt.__version__}"
        self._owner: int | None = None

    def __enter__(self) -> "TensorRTRunner":
        cuda, trt = self._cuda, self._trt
        gpu = cuda.Device(0)
        sidecar, plan = _engine_here(self._bundle, self._record, trt, gpu)
        self.device = f"{self._record.runtime} {trt.__version__}, {gpu.name()}"
        if sidecar.precision != self._record.precision:
            # The board refused the bundle's own precision: figures name the one that ran.
            self.device += f", {sidecar.precision} engine"
        if sidecar.dla is not None:
            self.device += f", DLA {sidecar.dla}"
        self._owner = threading.get_ident()
        #: runtime, engine, context: each must outlive the one after it.
        self._keep: list[Any] = []
        self._buffers: dict[str, Buffer] = {}
        self._stream: Any = None
        self._graph: CudaGraph | None = None
        self._cache: tuple[Any, Path] | None = None
        self._cuda_context = gpu.retain_primary_context()
        self._cuda_context.push()
        try:
            self._load(sidecar, plan, gpu)
            self._record_graph()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            if isinstance(error, cuda.MemoryError):
                raise ResourceError(
                    f"found no memory left on {self.device} ({_first_line(error)}), expected room "
                    f"for {self._bundle.path}: close other programs that use the GPU"
                ) from error
            if isinstance(error, cuda.Error):
                raise self._failed(error) from error
            raise
        return self

    def _load(self, sidecar: EngineSidecar, plan: bytes, gpu: Any) -> None:
        cuda, trt, record = self._cuda, self._trt, self._record
        path = self._bundle.path / "engines" / sidecar.engine
        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._keep.append(runtime)
        if sidecar.dla is not None:
            runtime.DLA_core = sidecar.dla
        engine = runtime.deserialize_cuda_engine(plan)
        self._keep.append(engine)
        context = self._context(engine, sidecar, gpu) if engine is not None else None
        if context is None:
            raise TargetError(
                f"found {path} refused by {self.device}, whose message stands above, expected an "
                f"engine built for it: run edgevpr build {shell_word(self._bundle.path)} on this "
                "machine"
            )
        self._keep.append(context)
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        if sorted(names) != sorted([record.input, record.output]):
            raise CorruptArtifactError(
                f"found {path} with the tensors {', '.join(names)}, expected {record.input} and "
                f"{record.output}: run edgevpr build {shell_word(self._bundle.path)} again"
            )
        self._stream = cuda.Stream(_NON_BLOCKING)
        mapped = is_integrated(cuda, gpu)
        expected = {record.input: trt.DataType.UINT8, record.output: trt.DataType.FLOAT}
        for name in names:
            shape, found = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
            if found != expected[name] or min(shape) < 1:
                raise CorruptArtifactError(
                    f"found {path} with the tensor {name} of {found} {shape}, expected "
                    f"{expected[name]} of a fixed shape: run edgevpr compile MODEL again, then "
                    f"edgevpr build {shell_word(self._bundle.path)}"
                )
            dtype = np.uint8 if name == record.input else np.float32
            self._buffers[name] = buffer = Buffer(cuda, shape, dtype, mapped)
            context.set_tensor_address(name, buffer.address)

    def _context(self, engine: Any, sidecar: EngineSidecar, gpu: Any) -> Any:
        """The execution context; TensorRT-RTX keeps kernels and records a CUDA graph."""
        trt = self._trt
        if self._record.runtime != "tensorrt-rtx":
            return engine.create_execution_context()
        config = engine.create_runtime_config()
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        path = rtx_cache.cache_path(sidecar.sha256, trt.__version__, f"{gpu.name()} {sidecar.sm}")
        self._cache = rtx_cache.load(config, path), path
        return engine.create_execution_context(config)

    def _record_graph(self) -> None:
        """Run once, so that everything lazy is loaded, and then record copies and engine."""
        self._buffers[self._record.input].host.fill(0)
        self._run()
        if self._cache is not None:
            # Now, not at the end: a robot ends by losing its power.
            rtx_cache.save(*self._cache)
        else:
            self._graph = record_graph(int(self._stream.handle), self._enqueue)
            self.device += ", CUDA graph" if self._graph else ", no CUDA graph"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The error's frames hold references to GPU objects, which must be freed now.
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__cause__ or error.__context__
        # In reverse order of making; each is freed with its last reference.
        if self._graph is not None:
            self._graph.close()
            self._graph = None
        self._cache = None
        while self._keep:
            self._keep.pop()
        self._buffers = {}
        self._stream = None
        self._cuda_context.pop()
        self._cuda_context = None
        self._owner = None

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, H, W, 3) uint8 RGB -> (B, d) float32, one image at a time."""
        if threading.get_ident() != self._owner:
            raise RuntimeError("a TensorRT runner is used by the thread that entered it")
        rows = np.empty((len(images), self._record.output_dim), np.float32)
        input_ = self._buffers[self._record.input].host[0]
        output = self._buffers[self._record.output].host.reshape(-1)
        for image, row in zip(images, rows, strict=True):
            np.copyto(input_, image)
            try:
                self._run()
            except self._cuda.Error as error:
                raise self._failed(error) from error
            np.copyto(row, output)
        return rows

    def _run(self) -> None:
        """From the input's host buffer to the output's; the GPU uses both until this returns."""
        if self._graph is not None:
            done = self._graph.launch(int(self._stream.handle))
        else:
            done = self._enqueue()
        if not done:
            raise TargetError(
                f"found that {self.device} could not run the engine, its message stands above, "
                f"expected it to: run edgevpr build {shell_word(self._bundle.path)} again"
            )
        self._stream.synchronize()

    def _enqueue(self) -> bool:
        context = self._keep[2]
        self._buffers[self._record.input].to_gpu(self._stream)
        if not context.execute_async_v3(int(self._stream.handle)):
            return False
        self._buffers[self._record.output].to_host(self._stream)
        return True

    def _failed(self, error: BaseException) -> TargetError:
        return TargetError(
            f"found that {self.device} failed ({_first_line(error)}), expected it to run: start "
            "again; if it fails again, look at dmesg for the GPU's own message, or use a bundle "
            f"of {_ON_CPU}"
        )


def load_libraries(runtime: str, bundle: Path) -> tuple[ModuleType, Any]:
    """The TensorRT module and ``pycuda.driver``, initialized, with at least one GPU.

    Raises:
        TargetError: says which is missing, how to get it, and what runs here instead.
    """
    fallback = f"or use a bundle of {_ON_CPU}"
    name, install = _LIBRARIES[runtime]
    found: list[Any] = []
    for module in (name, "pycuda.driver"):
        try:
            found.append(importlib.import_module(module))
        except (ImportError, OSError) as error:  # OSError: a library of the driver is missing
            raise TargetError(
                f"found no {module} that can be imported ({_first_line(error)}), expected "
                f"{runtime} and pycuda for {bundle}: {install}, {fallback}"
            ) from error
    trt, cuda = found
    try:
        cuda.init()
        count = cuda.Device.count()
    except Exception as error:  # pycuda's errors derive from Exception alone
        raise TargetError(
            f"found that CUDA does not start here ({_first_line(error)}), expected an NVIDIA GPU "
            f"for {bundle}: run it on the device it was built for, {fallback}"
        ) from error
    if count == 0:
        raise TargetError(
            f"found no NVIDIA GPU in this machine, expected one for {bundle}: run it on the "
            f"device it was built for, {fallback}"
        )
    return trt, cuda


def check_engine(bundle: Artifact, record: BundleRecord) -> None:
    """Raise EngineMissingError if a bundle has no engine for this machine; loads nothing.

    Raises:
        TargetError: this machine has no TensorRT or no GPU.
    """
    trt, cuda = load_libraries(record.runtime, bundle.path)
    _engine_here(bundle, record, trt, cuda.Device(0))


def _engine_here(
    bundle: Artifact, record: BundleRecord, trt: ModuleType, gpu: Any
) -> tuple[EngineSidecar, bytes]:
    major, minor = gpu.compute_capability()
    return choose_engine(bundle, record, trt.__version__, f"sm_{major}{minor}", this_board())


def choose_engine(
    bundle: Artifact, record: BundleRecord, version: str, sm: str, board: str = ""
) -> tuple[EngineSidecar, bytes]:
    """The engine of a bundle for this TensorRT version, GPU and board, its content checked.

    Engines are not portable between GPU generations, TensorRT builds or Jetson boards: the sidecar
    says what an engine is for, before TensorRT reads it. The bytes returned are those hashed.

    Args:
        board: device profile of this Jetson, the empty string on other machines.

    Raises:
        EngineMissingError: none fits.
        CorruptArtifactError: one fits but is not the file, or not of the graph, it claims, or no
            trusted key has signed it.
    """
    again = f"run edgevpr build {shell_word(bundle.path)} on this machine"
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
        plan = bundle.bytes(f"engines/{stem}.engine")
        changed = hashlib.sha256(plan).hexdigest() != sidecar.sha256
        if changed or sidecar.engine != path.name:
            raise CorruptArtifactError(
                f"found {path} changed since it was built, expected the engine its sidecar "
                f"describes: {again}"
            )
        if sidecar.graph_sha256 != record.graph_sha256:
            raise CorruptArtifactError(
                f"found {path} built from another graph, expected that of "
                f"{bundle.path / 'model.onnx'}: {again}"
            )
        check_engine_trusted(bundle, stem)
        return sidecar, plan
    raise EngineMissingError(
        f"found {'engines for ' + ', '.join(there) if there else 'no engine yet'} in "
        f"{bundle.path}, expected one for {_place(record.runtime, version, sm, board)}: {again}, "
        f"or use a bundle of {_ON_CPU}"
    )


def _place(runtime: str, version: str, sm: str, board: str) -> str:
    return f"{runtime} {version} on {sm}{f' of a {board}' if board else ''}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
