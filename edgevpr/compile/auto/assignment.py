"""Assignments of precisions to groups of layers, and their graph and latency on a target.

Two executors: ONNX Runtime on this CPU, where latency is measured, and a GPU elsewhere, where it is
predicted. Every candidate layer is quantized once; an assignment then only takes Q/DQ away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edgevpr.artifacts.records import Provenance
from edgevpr.compile.auto.groups import Group
from edgevpr.compile.auto.roofline import gpu_limits, predict_ms
from edgevpr.compile.graph.latency import BUDGET_S, latencies
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.graph.signature import name_nodes
from edgevpr.compile.precision.choices import Precision
from edgevpr.compile.precision.gpu_graph import kept_in_fp32
from edgevpr.compile.precision.half import rounded_to_half
from edgevpr.compile.precision.modelopt import autocast
from edgevpr.compile.precision.qdq import restrict
from edgevpr.compile.precision.typed import TypedGraph
from edgevpr.device.cpu import cpu_name
from edgevpr.device.targets import Target

#: Seconds spent on timing one assignment beside the graph without INT8.
TIMING_S = 2.0


@dataclass(frozen=True)
class Assignment:
    """Names of groups in INT8 and in FP32; the others run in the executor's base precision."""

    int8: tuple[str, ...] = ()
    fp32: tuple[str, ...] = ()


class Executor(Protocol):
    """Graphs, descriptors and latency of assignments on one kind of target."""

    #: the FP32 graph, and the same with every candidate layer in Q/DQ.
    clean: onnx.ModelProto
    quantized: onnx.ModelProto
    #: the precision without INT8: fp32 on a CPU, fp16 on a GPU.
    base: Precision
    provenance: Provenance
    #: device, or figures that latency is predicted from, in words.
    basis: str

    def named(self, groups: Sequence[str]) -> list[str]:
        """Names of the nodes of some groups."""
        ...

    def graph(self, assignment: Assignment) -> onnx.ModelProto:
        """FP32 types and Q/DQ, for descriptor errors."""
        ...

    def typed(self, assignment: Assignment) -> TypedGraph:
        """The graphs that go into a bundle."""
        ...

    def describe(self, assignment: Assignment, images: NDArray[Any]) -> NDArray[np.float32]:
        """(n, d) descriptors of the bundle's graph, rounded as its engine rounds."""
        ...

    def latency_ms(self, assignment: Assignment, *, again: bool = False) -> tuple[float, float]:
        """Of an assignment, and of the base beside it; ``again`` is timed for longer."""
        ...


class _Groups:
    def __init__(
        self, clean: onnx.ModelProto, quantized: onnx.ModelProto, groups: Sequence[Group]
    ) -> None:
        self.clean, self.quantized = clean, quantized
        self.nodes = {group.name: group.nodes for group in groups}

    def named(self, groups: Sequence[str]) -> list[str]:
        return [node for group in groups for node in self.nodes[group]]


class CpuExecutor(_Groups):
    """ONNX Runtime on this machine."""

    base: Precision = "fp32"
    provenance: Provenance = "measured"

    def __init__(
        self,
        clean: onnx.ModelProto,
        quantized: onnx.ModelProto,
        groups: Sequence[Group],
        image: NDArray[Any],
    ) -> None:
        super().__init__(clean, quantized, groups)
        self.image = image
        self.basis = f"ONNX Runtime {onnxruntime.__version__} on {cpu_name()}, one thread"

    def graph(self, assignment: Assignment) -> onnx.ModelProto:
        if not assignment.int8:
            return self.clean
        fewer = restrict(self.quantized, self.clean, self.named(assignment.int8))
        return onnx.shape_inference.infer_shapes(name_nodes(fewer))

    def typed(self, assignment: Assignment) -> TypedGraph:
        graph = self.graph(assignment)
        return TypedGraph(graph, graph, {}, self.named(assignment.int8))

    def describe(self, assignment: Assignment, images: NDArray[Any]) -> NDArray[np.float32]:
        return describe(self.graph(assignment), images)

    def latency_ms(self, assignment: Assignment, *, again: bool = False) -> tuple[float, float]:
        graphs = {"base": self.clean, "own": self.graph(assignment)}
        found = latencies(graphs, self.image, budget_s=BUDGET_S if again else TIMING_S)
        return found["own"].p50_ms, found["base"].p50_ms


class GpuExecutor(_Groups):
    """A TensorRT target, emulated and predicted."""

    base: Precision = "fp16"
    provenance: Provenance = "predicted"

    def __init__(
        self,
        clean: onnx.ModelProto,
        quantized: onnx.ModelProto,
        groups: Sequence[Group],
        images: NDArray[Any],
        target: Target,
        extreme: NDArray[Any] | None = None,
    ) -> None:
        super().__init__(clean, quantized, groups)
        self.kept = kept_in_fp32(clean, images, extreme)
        self.board = gpu_limits(target)
        self.basis = f"edgevpr/compile/auto/roofline.py with {self.board.basis}"

    def graph(self, assignment: Assignment) -> onnx.ModelProto:
        chosen = self.named(assignment.int8)
        fewer = restrict(self.quantized, self.clean, chosen, outputs=False)
        return onnx.shape_inference.infer_shapes(name_nodes(fewer))

    def half(self, group: str) -> onnx.ModelProto:
        """The FP32 graph with one group in FP16."""
        return rounded_to_half(self.clean, [n for n in self.nodes[group] if n not in self.kept])

    def typed(self, assignment: Assignment) -> TypedGraph:
        graph = self.graph(assignment) if assignment.int8 else self.clean
        kept = dict(self.kept)
        for group in assignment.fp32:
            for node in self.nodes[group]:
                kept.setdefault(node, f"{group}: the search for a precision keeps it")
        if set(self.nodes) == set(assignment.fp32):
            return TypedGraph(self.clean, self.clean, {}, [])
        return TypedGraph(autocast(graph, kept), graph, kept, self.named(assignment.int8))

    def describe(self, assignment: Assignment, images: NDArray[Any]) -> NDArray[np.float32]:
        return describe(self.typed(assignment).graph, images, as_written=True)

    def latency_ms(self, assignment: Assignment, *, again: bool = False) -> tuple[float, float]:
        base: dict[str, Precision] = dict.fromkeys(self.kept, "fp32")
        own = dict(base)
        own.update(dict.fromkeys(self.named(assignment.fp32), "fp32"))
        for node in self.named(assignment.int8):
            own[node] = "int8"
        return (
            predict_ms(self.clean, own, "fp16", self.board),
            predict_ms(self.clean, base, "fp16", self.board),
        )
