"""Slow stages of a compilation, each cached by the content of its inputs."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.artifacts.manifest import read_json, write_json
from edgevpr.compile.auto.assignment import CpuExecutor, Executor, GpuExecutor
from edgevpr.compile.auto.decision import Decision
from edgevpr.compile.auto.groups import layer_groups
from edgevpr.compile.auto.measurements import AroundPart, Measurements
from edgevpr.compile.auto.search import Search
from edgevpr.compile.cache import Cache, array_digest, graph_digest
from edgevpr.compile.exits.cut import describe_routes
from edgevpr.compile.graph.fuse import clean_up, fuse_projection
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.precision.choices import Method
from edgevpr.compile.precision.cpu_graph import quantize_cpu, to_int8_cpu
from edgevpr.compile.precision.gpu_graph import to_fp16, to_int8
from edgevpr.compile.precision.modelopt import quantize_gpu
from edgevpr.compile.precision.qdq import quantized_layers
from edgevpr.compile.precision.structure import int8_layers
from edgevpr.compile.precision.typed import TypedGraph
from edgevpr.compile.request import RecallGoal
from edgevpr.device.cpu import has_int8_dot_product
from edgevpr.device.targets import Target
from edgevpr.progress import Track, silent
from edgevpr.retrieval.projection import Projection


class _Names(msgspec.Struct):
    fp32_nodes: dict[str, str]
    int8_nodes: list[str]
    #: the flags graph is the typed one.
    same: bool


@dataclass
class Stages:
    """Stages of one compilation; ``scratch`` takes what is not cached."""

    cache: Cache
    scratch: Path
    track: Track = silent
    _count: int = 0

    def export(self, model_digest: str, export: Callable[[Path], object]) -> Path:
        """The ONNX file of a model artifact."""
        key = {"model": model_digest}

        def write(folder: Path) -> None:
            export(folder / "model.onnx")

        return self.cache.files("export", key, write, self._into()) / "model.onnx"

    def export_parts(self, model_digest: str, export: Callable[[Path], object]) -> Path:
        """The folder with the graphs of a model that is cut at its early exits."""
        key = {"model": model_digest}

        def write(folder: Path) -> None:
            export(folder)

        return self.cache.files("export-parts", key, write, self._into())

    def clean(
        self,
        exported: onnx.ModelProto,
        projection: Projection | None,
        probes: NDArray[Any],
    ) -> onnx.ModelProto:
        """The projection fused in, constants folded."""
        key = {
            "graph": graph_digest(exported),
            "projection": ""
            if projection is None
            else array_digest(projection.mean) + array_digest(projection.matrix),
            "probes": array_digest(probes),
        }

        def make() -> onnx.ModelProto:
            fused = fuse_projection(exported, projection) if projection else exported
            return clean_up(fused, probes)

        return self.cache.graph("clean", key, make, self._into())

    def typed(
        self,
        clean: onnx.ModelProto,
        target: Target,
        precision: str,
        images: NDArray[Any],
        method: Method | None,
        *,
        extreme: NDArray[Any] | None = None,
    ) -> TypedGraph:
        """The graph in its precision; INT8 calibrated on ``images``.

        Args:
            images: of a part of a network, what it reads of them.
            extreme: what a part reads of extreme images.
        """
        if precision == "fp32":
            return TypedGraph(clean, clean, {}, [])
        cpu = target.runtime == "onnxruntime"
        key = {
            **self._calibrated(clean, images, method, cpu=cpu),
            "precision": precision,
            "extreme": None if extreme is None else array_digest(extreme),
        }

        def make() -> TypedGraph:
            if cpu:
                graph, layers = to_int8_cpu(clean, images, method=method, track=self.track)
                return TypedGraph(graph, graph, {}, layers)
            if precision == "fp16":
                return to_fp16(clean, images, extreme=extreme)
            return to_int8(clean, images, method=method, extreme=extreme)

        return self._typed(key, make)

    def search(
        self,
        clean: onnx.ModelProto,
        target: Target,
        images: NDArray[Any],
        method: Method | None,
        recall: RecallGoal,
        around: AroundPart | None = None,
    ) -> tuple[Decision, TypedGraph]:
        """The fastest assignment of precisions that keeps the recall; see ``auto.search``.

        Args:
            images: of a part of a network, what it reads of them.
            around: of a part of a network.
        """
        cpu = target.runtime == "onnxruntime"
        nodes = [node for group in layer_groups(clean) for node in group.nodes]
        key = {**self._calibrated(clean, images, method, cpu=cpu), "nodes": nodes}

        def quantize() -> onnx.ModelProto:
            if cpu:
                return quantize_cpu(clean, images, nodes, method=method, track=self.track)
            return quantize_gpu(clean, images, nodes, method=method)

        for _ in self.track([None], "calibrating every layer", 1):
            quantized = self.cache.graph("quantized", key, quantize, self._into())
        groups = layer_groups(clean, among=quantized_layers(quantized, nodes))
        executor: Executor = (
            CpuExecutor(clean, quantized, groups, images[0])
            if cpu
            else GpuExecutor(
                clean, quantized, groups, images, target, around.extreme if around else None
            )
        )
        tuning = recall.tuning
        if around is not None:
            tuning = dataclasses.replace(tuning, images=around.tuning)
        measurements = Measurements(
            executor=executor,
            calibration=images,
            tuning=tuning,
            gallery=recall.gallery,
            gallery_digest=recall.digest,
            cache=self.cache,
            scratch=self._into(),
            around=around,
        )
        usual = [layer.name for layer in int8_layers(clean)]
        decision, chosen = Search(measurements, groups, recall.goal, self.track).run(usual=usual)
        own = {"int8": chosen.int8, "fp32": chosen.fp32}
        return decision, self._typed({**key, **own}, lambda: executor.typed(chosen))

    def describe(
        self, graph: onnx.ModelProto, images: NDArray[np.uint8], *, as_written: bool = False
    ) -> NDArray[np.float32]:
        """Descriptors of a graph on this CPU."""
        key = {
            "graph": graph_digest(graph),
            "images": array_digest(images),
            "as_written": as_written,
        }
        found = self.cache.array(
            "described",
            key,
            lambda: describe(graph, images, as_written=as_written),
            self._into(),
        )
        return np.asarray(found, np.float32)

    def describe_routes(
        self,
        graphs: Mapping[str, onnx.ModelProto],
        routes: Mapping[str, tuple[str, ...]],
        images: NDArray[np.uint8],
        *,
        as_written: bool = False,
    ) -> dict[str, NDArray[np.float32]]:
        """Descriptors of each route through some graphs on this CPU."""
        key = {
            "graphs": {name: graph_digest(graph) for name, graph in graphs.items()},
            "routes": dict(routes),
            "images": array_digest(images),
            "as_written": as_written,
        }

        def make() -> NDArray[np.float32]:
            found = describe_routes(graphs, routes, images, as_written=as_written)
            return np.stack(list(found.values()))

        stacked = self.cache.array("described-routes", key, make, self._into())
        return dict(zip(routes, np.asarray(stacked, np.float32), strict=True))

    def _typed(self, key: Mapping[str, object], make: Callable[[], TypedGraph]) -> TypedGraph:
        def write(folder: Path) -> None:
            typed = make()
            same = typed.flags_graph is typed.graph
            onnx.save(typed.graph, str(folder / "model.onnx"))
            if not same:
                onnx.save(typed.flags_graph, str(folder / "flags.onnx"))
            names = _Names(dict(typed.fp32_nodes), list(typed.int8_nodes), same)
            write_json(folder / "names.json", names)

        folder = self.cache.files("typed", key, write, self._into())
        names = read_json(folder / "names.json", _Names)
        graph = onnx.load(str(folder / "model.onnx"))
        flags = graph if names.same else onnx.load(str(folder / "flags.onnx"))
        return TypedGraph(graph, flags, names.fp32_nodes, names.int8_nodes)

    def _calibrated(
        self, clean: onnx.ModelProto, images: NDArray[Any], method: Method | None, *, cpu: bool
    ) -> dict[str, object]:
        return {
            "graph": graph_digest(clean),
            "images": array_digest(images),
            "method": method,
            "cpu": cpu,
            "dot_product": has_int8_dot_product() if cpu else None,
        }

    def _into(self) -> Path:
        self._count += 1
        return self.scratch / f"stage-{self._count}"
