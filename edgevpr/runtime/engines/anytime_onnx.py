"""Runner of a bundle with early exits on the CPU: an ONNX Runtime session for each graph."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord, GraphRecord
from edgevpr.errors import CorruptArtifactError
from edgevpr.optional import require
from edgevpr.runtime.engines.graph_paths import DESCRIPTOR, IMAGES, GraphPaths, Kept
from edgevpr.runtime.engines.onnx_contract import GraphEnds, check_part
from edgevpr.runtime.engines.onnx_session import onnx_device, onnx_session


class AnytimeOnnxRunner:
    """Sessions bound once to buffers that are allocated once: a change of exit allocates nothing.

    Args:
        bundle, record: with exits.
        threads: threads one inference is spread over; 0: one per core.

    Raises:
        CorruptArtifactError: a graph that is not the one its record describes, or does not fit
            the graphs beside it.
        ArtifactVersionError: the installed ONNX Runtime does not know a graph's operators.
    """

    def __init__(self, bundle: Artifact, record: BundleRecord, *, threads: int = 0) -> None:
        self._paths = GraphPaths.of(bundle, record)
        self._kept = Kept(self._paths)
        self.exits = tuple(self._paths.ways)
        self.device = onnx_device(threads)
        value = require("onnxruntime", extra="compile").OrtValue.ortvalue_from_numpy
        # On the CPU an OrtValue is the array it was made of.
        self._arrays = [np.zeros(each.shape, each.type) for each in self._paths.buffers]
        values = [value(array) for array in self._arrays]
        self._bound: dict[str, tuple[Any, Any]] = {}
        for step in (step for way in self._paths.ways.values() for step in way):
            graph = step.graph
            if graph.file not in self._bound:
                session = _session(bundle, graph, threads)
                binding = session.io_binding()
                binding.bind_ortvalue_input(graph.input, values[step.reads])
                binding.bind_ortvalue_output(graph.output, values[step.writes])
                self._bound[graph.file] = session, binding

    def __enter__(self) -> "AnytimeOnnxRunner":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, images: NDArray[np.uint8]) -> None:
        np.copyto(self._arrays[IMAGES], images)
        self._kept.forget()

    def at(self, exit: str) -> NDArray[np.float32]:
        way = self._paths.ways[exit]
        for step in way[self._kept.first(way) :]:
            session, binding = self._bound[step.graph.file]
            session.run_with_iobinding(binding)
            self._kept.ran(step)
        descriptor: NDArray[np.float32] = self._arrays[DESCRIPTOR].copy()
        return descriptor

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = []
        for i in range(len(images)):
            self.start(images[i : i + 1])
            rows.append(self.at(FULL))
        return rows[0] if len(rows) == 1 else np.concatenate(rows)


def _session(bundle: Artifact, graph: GraphRecord, threads: int) -> Any:
    path, data = bundle.path / graph.file, bundle.bytes(graph.file)
    ends = check_part(data, path)
    expected = GraphEnds(
        graph.input,
        graph.output,
        tuple(graph.input_shape),
        tuple(graph.output_shape),
        graph.input_type,
        graph.output_type,
    )
    if ends != expected:
        raise CorruptArtifactError(
            f"found {path} from {ends}, expected from {expected}, as in its bundle.json: run "
            "edgevpr compile MODEL again"
        )
    return onnx_session(data, path, threads, spin=False)
