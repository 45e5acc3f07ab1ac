"""A GPU made of Python: pycuda, the driver's graph calls and TensorRT, as far as the runner goes.

Work is queued on a stream and happens when the stream is synchronized, so that a buffer read too
early, or changed too late, gives a wrong answer. What CUDA would crash on, or leak, is written
down in ``wrong``: something made or freed without a current context, an engine freed before its
context. The network gives each image's mean colours, doubled.
"""

import ctypes
import itertools
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

SIDE, DIM = 16, 48
ENGINE = b"engine bytes"


def network(images: np.ndarray) -> np.ndarray:
    """(1, SIDE, SIDE, 3) uint8 -> (1, DIM) float32."""
    colours = images.reshape(-1, 3).astype(np.float32).mean(axis=0) * 2
    return np.tile(colours, DIM // 3)[None].astype(np.float32)


@dataclass(frozen=True)
class Stage:
    """What an engine computes, from one tensor to one: names, shapes, numpy types."""

    input: tuple[str, tuple[int, ...], str]
    output: tuple[str, tuple[int, ...], str]
    function: Callable[[np.ndarray], np.ndarray]


#: by the engine's bytes.
STAGES = {
    ENGINE: Stage(
        ("images", (1, SIDE, SIDE, 3), "uint8"), ("descriptor", (1, DIM), "float32"), network
    )
}


class Gpu:
    """What the fakes share: what is alive, what was called, what was wrong, what is broken."""

    def __init__(self, *, integrated: bool = False, broken: str = "") -> None:
        self.integrated = integrated
        #: "memory", "names", "recording", "execute", "synchronize" or ""
        self.broken = broken
        self.alive: list[str] = []
        self.calls: list[str] = []
        self.wrong: list[str] = []
        self.current: dict[int, int] = {}
        #: address -> bytes
        self.memory: dict[int, np.ndarray] = {}
        self.streams: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.numbers = itertools.count(1000)

    def made(self, what: str) -> None:
        self._need_context(f"{what} made")
        self.alive.append(what)
        self.calls.append(what)

    def freed(self, what: str) -> None:
        self._need_context(f"{what} freed")
        self.alive.remove(what)
        for owner, part in (("engine", "context"), ("runtime", "engine")):
            if what == owner and part in self.alive:
                self.wrong.append(f"{owner} freed before its {part}")

    def _need_context(self, what: str) -> None:
        if not self.current.get(threading.get_ident()):
            self.wrong.append(f"{what} without a current context")


class Thing:
    """Something of a GPU that is made once and freed once."""

    def __init__(self, gpu: Gpu, what: str) -> None:
        self._gpu, self._what = gpu, what
        gpu.made(what)

    def __del__(self) -> None:
        if hasattr(self, "_what"):
            self._gpu.freed(self._what)


class Stream(Thing):
    def __init__(self, gpu: Gpu, flags: int) -> None:
        super().__init__(gpu, "stream")
        self.handle = next(gpu.numbers)
        self.queue: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None
        gpu.streams[self.handle] = self

    def add(self, work: Callable[[], None]) -> None:
        (self.queue if self.recording is None else self.recording).append(work)

    def synchronize(self) -> None:
        if self._gpu.broken == "synchronize":
            raise Error("cuStreamSynchronize failed: an illegal memory access was encountered")
        assert self.recording is None, "CUDA refuses to wait for a stream that records"
        for work in self.queue:
            work()
        self.queue = []


class Memory(Thing):
    """Of the GPU, or of the host, pinned; the latter with the interface numpy makes arrays of."""

    def __init__(self, gpu: Gpu, size: int, host: tuple[tuple[int, ...], Any, int] | None) -> None:
        if gpu.broken == "memory":
            raise MemoryFull("cuMemAlloc failed: out of memory")
        super().__init__(gpu, "host memory" if host else "gpu memory")
        self.bytes = np.zeros(size, np.uint8)
        self.address = next(gpu.numbers)
        self._mapped = host is not None and host[2] == 2
        if host is None or self._mapped:
            gpu.memory[self.address] = self.bytes
        if host is not None:
            self.__array_interface__ = {
                **self.bytes.view(host[1]).reshape(host[0]).__array_interface__
            }

    def __int__(self) -> int:
        return self.address

    def get_device_pointer(self) -> int:
        assert self._mapped, "only mapped host memory has an address on the GPU"
        return self.address


class Error(Exception):
    pass


class MemoryFull(Error):
    pass


def pycuda(gpu: Gpu) -> Any:
    """In the place of ``pycuda.driver``."""
    cuda: Any = ModuleType("pycuda.driver")

    class Context:
        def push(self) -> None:
            me = threading.get_ident()
            gpu.current[me] = gpu.current.get(me, 0) + 1

        def pop(self) -> None:
            gpu.current[threading.get_ident()] -= 1

    class Device:
        count = staticmethod(lambda: 1)

        def __init__(self, number: int) -> None:
            assert number == 0

        def compute_capability(self) -> tuple[int, int]:
            return 8, 7

        def name(self) -> str:
            return "Fake"

        def retain_primary_context(self) -> Context:
            return Context()

        def get_attribute(self, name: str) -> int:
            return int(gpu.integrated)

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.asarray(Memory(gpu, size, (shape, dtype, mem_flags)))

    def htod(to: Memory, array: Any, stream: Stream) -> None:
        gpu.calls.append("copy")
        target = gpu.memory[int(to)]
        stream.add(lambda: np.copyto(target, array.reshape(-1).view(np.uint8)))

    def dtoh(array: Any, source: Memory, stream: Stream) -> None:
        gpu.calls.append("copy")
        memory = gpu.memory[int(source)]
        stream.add(lambda: np.copyto(array.reshape(-1).view(np.uint8), memory))

    cuda.init = lambda: None
    cuda.Error, cuda.MemoryError, cuda.Device = Error, MemoryFull, Device
    cuda.Stream = lambda flags: Stream(gpu, flags)
    cuda.mem_alloc = lambda size: Memory(gpu, size, None)
    cuda.host_alloc_flags = SimpleNamespace(DEVICEMAP=2)
    cuda.device_attribute = SimpleNamespace(INTEGRATED="i", CAN_MAP_HOST_MEMORY="m")
    cuda.pagelocked_empty = pagelocked_empty
    cuda.memcpy_htod_async, cuda.memcpy_dtoh_async = htod, dtoh
    return cuda


class Driver:
    """In the place of libcuda; every call gives CUDA's status, 0 for success."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def cuStreamBeginCapture_v2(self, stream: ctypes.c_void_p, mode: int) -> int:
        self._gpu.streams[stream.value].recording = []
        return 0

    def cuStreamEndCapture(self, stream: ctypes.c_void_p, graph: Any) -> int:
        one = self._gpu.streams[stream.value]
        work, one.recording = one.recording, None
        if self._gpu.broken == "recording":
            return 901
        graph._obj.value = next(self._gpu.numbers)
        self._gpu.graphs[graph._obj.value] = work
        self._gpu.made("graph")
        return 0

    def cuGraphInstantiateWithFlags(self, launchable: Any, graph: Any, flags: Any) -> int:
        launchable._obj.value = next(self._gpu.numbers)
        self._gpu.graphs[launchable._obj.value] = self._gpu.graphs[graph.value]
        self._gpu.made("launchable graph")
        return 0

    def cuGraphLaunch(self, launchable: Any, stream: Any) -> int:
        self._gpu.calls.append("launch")
        for work in self._gpu.graphs[launchable.value]:
            self._gpu.streams[stream.value].add(work)
        return 0

    def cuGraphExecDestroy(self, launchable: Any) -> int:
        del self._gpu.graphs[launchable.value]
        self._gpu.freed("launchable graph")
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:
        del self._gpu.graphs[graph.value]
        self._gpu.freed("graph")
        return 0


def tensorrt(gpu: Gpu, version: str = "10.3.0") -> Any:
    """In the place of ``tensorrt`` or ``tensorrt_rtx``."""
    trt: Any = ModuleType("tensorrt")

    class Logger:
        WARNING = 2

        def __init__(self, level: int) -> None:
            pass

    class Cache:
        held = b""

        def deserialize(self, data: bytes) -> bool:
            gpu.calls.append(f"cache {data!r}")
            self.held = data if data.startswith(b"kernels") else b""
            return bool(self.held)

        def serialize(self) -> memoryview:
            return memoryview(self.held)

    class Config:
        cuda_graph_strategy = 0
        cache: Any = None

        def create_runtime_cache(self) -> Cache:
            return Cache()

        def set_runtime_cache(self, cache: Cache) -> bool:
            self.cache = cache
            return True

    class Execution(Thing):
        def __init__(self, config: Config | None, stage: Stage) -> None:
            super().__init__(gpu, "context")
            self.config, self.stage = config, stage
            self.addresses: dict[str, int] = {}

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return True

        def execute_async_v3(self, handle: int) -> bool:
            stream = gpu.streams[handle]
            gpu.calls.append("execute" if stream.recording is None else "execute, recorded")
            if gpu.broken == "execute" or (gpu.broken == "recording" and stream.recording):
                return False
            if self.config is not None and self.config.cache is not None:
                self.config.cache.held = b"kernels of this engine"
            stage = self.stage  # what waits on the stream keeps no context alive
            name_in, shape, kind = stage.input
            source = gpu.memory[self.addresses[name_in]]
            target = gpu.memory[self.addresses[stage.output[0]]]

            def compute() -> None:
                given = source.view(kind).reshape(shape)
                made = stage.function(given).astype(stage.output[2])
                np.copyto(target, np.ascontiguousarray(made).reshape(-1).view(np.uint8))

            stream.add(compute)
            return True

    class Engine(Thing):
        num_io_tensors = 2

        def __init__(self, stage: Stage) -> None:
            super().__init__(gpu, "engine")
            self.stage = stage

        def create_runtime_config(self) -> Config:
            return Config()

        def create_execution_context(self, config: Config | None = None) -> Execution:
            if config is not None:
                assert config.cuda_graph_strategy == 1
            return Execution(config, self.stage)

        def get_tensor_name(self, i: int) -> str:
            other = "logits" if gpu.broken == "names" else self.stage.output[0]
            return (self.stage.input[0], other)[i]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._end(name)[1]

        def get_tensor_dtype(self, name: str) -> str:
            return {"uint8": "uint8", "float16": "half", "float32": "float"}[self._end(name)[2]]

        def _end(self, name: str) -> tuple[str, tuple[int, ...], str]:
            return self.stage.input if name == self.stage.input[0] else self.stage.output

    class Runtime(Thing):
        DLA_core = -1

        def __init__(self, logger: Logger) -> None:
            super().__init__(gpu, "runtime")

        def deserialize_cuda_engine(self, plan: bytes) -> Engine:
            return Engine(STAGES[plan])

    trt.__version__ = version
    trt.Logger, trt.Runtime, trt.Config, trt.Cache = Logger, Runtime, Config, Cache
    trt.Engine, trt.Execution = Engine, Execution
    trt.DataType = SimpleNamespace(UINT8="uint8", HALF="half", FLOAT="float")
    trt.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE=1)
    return trt
