"""Runner of TensorRT 8.6 to 11 and TensorRT-RTX engines through pycuda.

One owner thread, the device's primary context, buffers allocated once: a context per thread, or
a second one beside PyTorch's, can hang. After a warm-up, copies and engines are one CUDA graph
where the engines allow it; TensorRT-RTX records its own.
"""

import math
import threading
import traceback
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord, EngineSidecar, GraphRecord
from edgevpr.errors import CorruptArtifactError, ResourceError, TargetError
from edgevpr.printable import shell_word
from edgevpr.runtime.engines import rtx_cache
from edgevpr.runtime.engines.cuda_buffer import Buffer, is_integrated
from edgevpr.runtime.engines.cuda_graph import CudaGraph
from edgevpr.runtime.engines.cuda_graph import record as record_graph
from edgevpr.runtime.engines.engine_choice import (
    ON_CPU,
    engine_here,
    first_line,
    load_libraries,
)
from edgevpr.runtime.engines.graph_paths import (
    DESCRIPTOR,
    IMAGES,
    GraphPaths,
    Kept,
    Step,
)

#: CU_STREAM_NON_BLOCKING: work of other libraries on the default stream does not wait for ours.
_NON_BLOCKING = 1


class TensorRTRunner:
    """The engines of a bundle on the first CUDA device; a ``with`` block, owned by its thread.

    A bundle with early exits has an engine for each graph. What passes between them stays on the
    GPU, in buffers allocated once, and every way from the frame, or from a shallower exit, to an
    exit is a CUDA graph of its own.

    Raises:
        TargetError: no library, no GPU, or no engine for this GPU and TensorRT version; the GPU
            fails while it runs.
        CorruptArtifactError: an engine file is not the one its sidecar describes.
        ResourceError: the GPU's memory is full.
    """

    def __init__(self, bundle: Artifact, record: BundleRecord) -> None:
        self._bundle, self._record = bundle, record
        self._paths = GraphPaths.of(bundle, record)
        self.exits = tuple(self._paths.ways) if record.exits else ()
        self._trt, self._cuda = load_libraries(record.runtime, bundle.path)
        self.device = f"{record.runtime} {self._trt.__version__}"
        self._owner: int | None = None

    def __enter__(self) -> "TensorRTRunner":
        cuda, trt = self._cuda, self._trt
        gpu = cuda.Device(0)
        found = [
            (graph, *engine_here(self._bundle, self._record, trt, gpu, graph))
            for graph in self._paths.graphs
        ]
        self.device = f"{self._record.runtime} {trt.__version__}, {gpu.name()}"
        for graph, sidecar, _ in found:
            # The board refused the graph's own precision: figures name the one that ran.
            other = f", {sidecar.precision} engine"
            if sidecar.precision != graph.precision and other not in self.device:
                self.device += other
        for dla in sorted({sidecar.dla for _, sidecar, _ in found if sidecar.dla is not None}):
            self.device += f", DLA {dla}"
        self._owner = threading.get_ident()
        #: runtime, engines, contexts: each must outlive those after it.
        self._keep: list[Any] = []
        self._contexts: dict[str, Any] = {}
        self._ends: dict[int, Buffer] = {}
        self._between: list[Any] = []
        self._kept = Kept(self._paths)
        self._stream: Any = None
        #: by exit and the first step to run.
        self._graphs: dict[tuple[str, int], CudaGraph] = {}
        self._caches: list[tuple[Any, Path]] = []
        self._cuda_context = gpu.retain_primary_context()
        self._cuda_context.push()
        try:
            self._load(found, gpu)
            self._record_graphs()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            if isinstance(error, cuda.MemoryError):
                raise ResourceError(
                    f"found no memory left on {self.device} ({first_line(error)}), expected room "
                    f"for {self._bundle.path}: close other programs that use the GPU"
                ) from error
            if isinstance(error, cuda.Error):
                raise self._failed(error) from error
            raise
        return self

    def _load(self, found: list[tuple[GraphRecord, EngineSidecar, bytes]], gpu: Any) -> None:
        cuda, trt = self._cuda, self._trt
        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._keep.append(runtime)
        engines = []
        for _, sidecar, plan in found:
            if sidecar.dla is not None:
                runtime.DLA_core = sidecar.dla
            engine = runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise self._refused(sidecar)
            self._keep.append(engine)
            engines.append(engine)
        for (graph, sidecar, _), engine in zip(found, engines, strict=True):
            context = self._context(engine, sidecar, gpu)
            if context is None:
                raise self._refused(sidecar)
            self._keep.append(context)
            self._contexts[graph.file] = context
            self._check_tensors(engine, sidecar, graph)
        self._stream = cuda.Stream(_NON_BLOCKING)
        addresses = self._allocate(is_integrated(cuda, gpu))
        for step in (step for way in self._paths.ways.values() for step in way):
            context = self._contexts[step.graph.file]
            context.set_tensor_address(step.graph.input, addresses[step.reads])
            context.set_tensor_address(step.graph.output, addresses[step.writes])

    def _check_tensors(self, engine: Any, sidecar: EngineSidecar, graph: GraphRecord) -> None:
        """Raise unless an engine takes and gives what its graph does."""
        path, trt = self._bundle.path / "engines" / sidecar.engine, self._trt
        types = {
            "uint8": trt.DataType.UINT8,
            "float16": trt.DataType.HALF,
            "float32": trt.DataType.FLOAT,
        }
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        if sorted(names) != sorted([graph.input, graph.output]):
            raise CorruptArtifactError(
                f"found {path} with the tensors {', '.join(names)}, expected {graph.input} and "
                f"{graph.output}: run edgevpr build {shell_word(self._bundle.path)} again"
            )
        for name, shape, kind in (
            (graph.input, graph.input_shape, graph.input_type),
            (graph.output, graph.output_shape, graph.output_type),
        ):
            found = tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)
            expected = tuple(shape), types[kind]
            if found != expected:
                raise CorruptArtifactError(
                    f"found {path} with the tensor {name} of {found[1]} {found[0]}, expected "
                    f"{expected[1]} {expected[0]}: run edgevpr compile MODEL again, then edgevpr "
                    f"build {shell_word(self._bundle.path)}"
                )

    def _allocate(self, mapped: bool) -> list[int]:
        """Addresses of all buffers: host memory with a GPU side at both ends, else the GPU's."""
        addresses = []
        for number, each in enumerate(self._paths.buffers):
            if number in (IMAGES, DESCRIPTOR):
                self._ends[number] = buffer = Buffer(self._cuda, each.shape, each.type, mapped)
                addresses.append(buffer.address)
            else:
                size = math.prod(each.shape) * np.dtype(each.type).itemsize
                self._between.append(self._cuda.mem_alloc(size))
                addresses.append(int(self._between[-1]))
        return addresses

    def _refused(self, sidecar: EngineSidecar) -> TargetError:
        return TargetError(
            f"found {self._bundle.path / 'engines' / sidecar.engine} refused by {self.device}, "
            "whose message stands above, expected an engine built for it: run edgevpr build "
            f"{shell_word(self._bundle.path)} on this machine"
        )

    def _context(self, engine: Any, sidecar: EngineSidecar, gpu: Any) -> Any:
        """The execution context; TensorRT-RTX keeps kernels and records a CUDA graph."""
        trt = self._trt
        if self._record.runtime != "tensorrt-rtx":
            return engine.create_execution_context()
        config = engine.create_runtime_config()
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        path = rtx_cache.cache_path(sidecar.sha256, trt.__version__, f"{gpu.name()} {sidecar.sm}")
        self._caches.append((rtx_cache.load(config, path), path))
        return engine.create_execution_context(config)

    def _record_graphs(self) -> None:
        """Run every way once, so that everything lazy is loaded, then record copies and engines."""
        self._ends[IMAGES].host.fill(0)
        for exit, way in self._paths.ways.items():
            self._kept.forget()
            self._run(exit, way)
        if self._caches:
            # Now, not at the end: a robot ends by losing its power.
            for cache in self._caches:
                rtx_cache.save(*cache)
            return
        handle = int(self._stream.handle)
        begins = sorted(self._begins())
        for exit, first in begins:
            steps = self._paths.ways[exit][first:]
            if graph := record_graph(handle, partial(self._enqueue, steps)):
                self._graphs[exit, first] = graph
        recorded = f"{len(self._graphs)} CUDA graphs" if self.exits else "CUDA graph"
        self.device += f", {recorded}" if self._graphs else ", no CUDA graph"

    def _begins(self) -> set[tuple[str, int]]:
        """Every exit from the frame on, and from each shallower exit on: its first step."""
        found = set()
        for number, (exit, way) in enumerate(self._paths.ways.items()):
            for before in [(), *list(self._paths.ways.values())[:number]]:
                self._kept.forget()
                for step in before:
                    self._kept.ran(step)
                found.add((exit, self._kept.first(way)))
        self._kept.forget()
        return found

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
        for graph in self._graphs.values():
            graph.close()
        self._graphs = {}
        self._caches, self._contexts = [], {}
        while self._keep:
            self._keep.pop()
        self._between, self._ends = [], {}
        self._stream = None
        self._cuda_context.pop()
        self._cuda_context = None
        self._owner = None

    def start(self, images: NDArray[np.uint8]) -> None:
        """A new frame, (1, H, W, 3) uint8 RGB."""
        self._check_owner()
        np.copyto(self._ends[IMAGES].host, images)
        self._kept.forget()

    def at(self, exit: str) -> NDArray[np.float32]:
        """(1, d) descriptor of the frame at an exit; what is there of it already is not redone."""
        self._check_owner()
        try:
            self._run(exit, self._paths.ways[exit])
        except self._cuda.Error as error:
            raise self._failed(error) from error
        return np.array(self._ends[DESCRIPTOR].host)

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, H, W, 3) uint8 RGB -> (B, d) float32, one image at a time, the whole path."""
        self._check_owner()
        rows = np.empty((len(images), self._record.output_dim), np.float32)
        for number in range(len(images)):
            self.start(images[number : number + 1])
            rows[number] = self.at(FULL)[0]
        return rows

    def _check_owner(self) -> None:
        if threading.get_ident() != self._owner:
            raise RuntimeError("a TensorRT runner is used by the thread that entered it")

    def _run(self, exit: str, way: tuple[Step, ...]) -> None:
        """What is missing of a way; the GPU uses both host buffers until this returns."""
        first = self._kept.first(way)
        if first == len(way):
            return
        graph = self._graphs.get((exit, first))
        if graph is not None:
            done = graph.launch(int(self._stream.handle))
        else:
            done = self._enqueue(way[first:])
        if not done:
            raise TargetError(
                f"found that {self.device} could not run the engine, its message stands above, "
                f"expected it to: run edgevpr build {shell_word(self._bundle.path)} again"
            )
        self._stream.synchronize()
        for step in way[first:]:
            self._kept.ran(step)

    def _enqueue(self, steps: tuple[Step, ...]) -> bool:
        if steps[0].reads == IMAGES:
            self._ends[IMAGES].to_gpu(self._stream)
        for step in steps:
            context = self._contexts[step.graph.file]
            if not context.execute_async_v3(int(self._stream.handle)):
                return False
        self._ends[DESCRIPTOR].to_host(self._stream)
        return True

    def _failed(self, error: BaseException) -> TargetError:
        return TargetError(
            f"found that {self.device} failed ({first_line(error)}), expected it to run: start "
            "again; if it fails again, look at dmesg for the GPU's own message, or use a bundle "
            f"of {ON_CPU}"
        )
