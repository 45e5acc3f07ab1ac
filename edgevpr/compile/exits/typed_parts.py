"""Precision of each graph of a cut network, in the order in which states reach them.

A graph is calibrated on what the graphs before it give in their own precision, INT8 rounding
included. The tail reads the tokens of every exit: it is calibrated on all of them, each image's
through one exit in turn.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.compile.auto.decision import Decision
from edgevpr.compile.auto.groups import multiply_adds
from edgevpr.compile.auto.measurements import AroundPart
from edgevpr.compile.exits.boundaries import half_boundaries, peaks_of_outputs, with_half_ends
from edgevpr.compile.exits.cut import Cut
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.precision.calibration import extremes
from edgevpr.compile.precision.choices import Precision
from edgevpr.compile.precision.gpu_graph import FP16_IMAGES
from edgevpr.compile.precision.structure import GraphIndex
from edgevpr.compile.precision.typed import TypedGraph
from edgevpr.compile.request import CompileRequest, RecallGoal
from edgevpr.compile.stages import Stages
from edgevpr.compile.steps import Steps

#: The graphs that a route has run so far.
Way = tuple[str, ...]


@dataclass
class TypedParts:
    """Each graph of a cut in its precision, by name."""

    precisions: dict[str, Precision] = field(default_factory=dict)
    typed: dict[str, TypedGraph] = field(default_factory=dict)
    #: precision -> network that a board falls back to; empty but for Jetsons.
    safer: dict[str, dict[str, TypedGraph]] = field(default_factory=dict)
    #: of a search for a precision, one a graph.
    decisions: dict[str, Decision] = field(default_factory=dict)
    #: largest magnitude that a graph hands to the next.
    peaks: dict[str, float] = field(default_factory=dict)

    @property
    def precision(self) -> Precision:
        """The narrowest of any graph."""
        order: tuple[Precision, ...] = ("int8", "fp16", "fp32")
        return next(name for name in order if name in self.precisions.values())


@dataclass
class _Reads:
    """What graphs read of some images, by the way to them; forgotten after its last use."""

    images: NDArray[Any]
    left: Counter[Way]
    held: dict[Way, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.held[()] = self.images

    def of(self, way: Way) -> NDArray[Any]:
        return self.held[way]

    def used(self, way: Way) -> None:
        self.left[way] -= 1
        if not self.left[way]:
            del self.held[way]


def type_parts(cut: Cut, request: CompileRequest, stages: Stages, steps: Steps) -> TypedParts:
    """Every graph in the precision asked for, or in the one that a search finds.

    A search shares its minutes out by multiply-adds; what a graph leaves over goes to the next.

    Args:
        cut: of clean graphs, in FP32.
    """
    work = _Typing(cut, request, stages, steps)
    for key, ways in _in_order(cut):
        work.one(key, ways)
    return work.parts


def with_half_boundaries(cut: Cut, parts: TypedParts) -> TypedParts:
    """The parts with FP16 between them, safer ones too, as far as states fit into it."""
    reads, writes = half_boundaries(cut, parts.peaks)

    def changed(key: str, graph: TypedGraph) -> TypedGraph:
        return with_half_ends(graph, reads=key in reads, writes=key in writes)

    typed = {key: changed(key, graph) for key, graph in parts.typed.items()}
    safer = {
        key: {name: changed(key, graph) for name, graph in graphs.items()}
        for key, graphs in parts.safer.items()
    }
    return TypedParts(parts.precisions, typed, safer, parts.decisions, parts.peaks)


def _in_order(cut: Cut) -> Iterator[tuple[str, list[Way]]]:
    """Each graph with the ways to it: after all graphs that it reads from."""
    ways: dict[str, list[Way]] = {}
    for route in cut.routes.values():
        for i, key in enumerate(route):
            if route[:i] not in ways.setdefault(key, []):
                ways[key].append(route[:i])
    yield from ((key, found) for key, found in ways.items() if len(found) == 1)
    yield from ((key, found) for key, found in ways.items() if len(found) > 1)


class _Typing:
    def __init__(self, cut: Cut, request: CompileRequest, stages: Stages, steps: Steps) -> None:
        self.cut, self.request, self.stages, self.steps = cut, request, stages, steps
        self.parts = TypedParts()
        images = request.images.calibration
        if request.precision == "fp16":
            images = images[:FP16_IMAGES]
        probes = extremes(*images.shape[1:3])
        self.count = len(images)
        left = Counter(way for _, ways in _in_order(cut) for way in ways)
        self.reads = _Reads(np.concatenate([images, probes]), left)
        recall = request.recall if request.precision == "auto" else None
        self.tuning = _Reads(recall.tuning.images, Counter(left)) if recall else None
        self.whole: dict[str, NDArray[np.float32]] = {}
        if recall:
            self.whole = stages.describe_routes(cut.graphs, cut.routes, recall.tuning.images)
        self.work = {key: _multiply_adds(graph) for key, graph in cut.graphs.items()}
        self.ends_at = time.monotonic() + 60 * (recall.goal.minutes if recall else 0)

    def one(self, key: str, ways: list[Way]) -> None:
        """Type a graph, and run it on what it reads."""
        clean, parts, precision = self.cut.graphs[key], self.parts, self.request.precision
        if precision == "fp32":
            parts.precisions[key], parts.typed[key] = "fp32", TypedGraph(clean, clean, {}, [])
            parts.safer[key] = {}
            return
        images, probes = self._calibration(ways)
        if precision == "auto":
            decision, typed = self._search(key, images, probes)
            parts.decisions[key] = decision
            parts.precisions[key] = decision.precision
        else:
            typed = self._typed(key, precision, images, probes)
            parts.precisions[key] = precision
            if precision == "int8" and not typed.int8_nodes:
                parts.precisions[key] = "fp32" if self.request.runs_here else "fp16"
        parts.typed[key] = typed
        parts.safer[key] = self._safer(key, images, probes)
        # What TensorRT's INT8 rounds is rounded in the FP32 types of this graph too, and runs fast.
        runs = typed.flags_graph
        for reads in filter(None, (self.reads, self.tuning)):
            for way in ways:
                after = (*way, key)
                if any(r[: len(after)] == after and r != after for r in self.cut.routes.values()):
                    reads.held[after] = describe(runs, reads.of(way))
                    if reads is self.reads:
                        peak = peaks_of_outputs({key: reads.held[after]})[key]
                        parts.peaks[key] = max(peak, parts.peaks.get(key, 0.0))
                reads.used(way)

    def _calibration(self, ways: list[Way]) -> tuple[NDArray[Any], NDArray[Any]]:
        """What a graph reads of the calibration images, by one way each, and of extreme ones."""
        found = [self.reads.of(way) for way in ways]
        images = np.concatenate([f[: self.count][i :: len(found)] for i, f in enumerate(found)])
        return images, np.concatenate([f[self.count :] for f in found])

    def _typed(
        self, key: str, precision: str, images: NDArray[Any], probes: NDArray[Any]
    ) -> TypedGraph:
        request = self.request
        return self.steps.run(
            f"{precision} {key}",
            f"typing {key} in {precision.upper()}",
            lambda: self.stages.typed(
                self.cut.graphs[key], request.target, precision, images, request.method,
                extreme=probes,
            ),
            bar=not (request.runs_here and precision == "int8"),
        )  # fmt: skip

    def _search(
        self, key: str, images: NDArray[Any], probes: NDArray[Any]
    ) -> tuple[Decision, TypedGraph]:
        """The search along the deepest route that runs the graph, with what is after it in FP32."""
        request, recall = self.request, self.request.recall
        assert recall is not None
        assert self.tuning is not None
        name = next(n for n in (FULL, *self.cut.early) if key in self.cut.routes[n])
        route = self.cut.routes[name]
        place = route.index(key)
        rest = tuple(self.cut.graphs[k] for k in route[place + 1 :])
        around = AroundPart(self.tuning.of(route[:place]), probes, rest, self.whole[name])
        left = max(0.0, self.ends_at - time.monotonic())
        share = self.work[key] / sum(self.work[k] for k in self.work if k not in self.parts.typed)
        goal = RecallGoal(
            type(recall.goal)(recall.goal.max_recall_drop, max(left * share / 60, 1e-3)),
            recall.tuning, recall.gallery, recall.digest,
        )  # fmt: skip
        return self.steps.run(
            f"auto {key}",
            f"auto, {key}",
            lambda: self.stages.search(
                self.cut.graphs[key], request.target, images, request.method, goal, around
            ),
            bar=False,
        )

    def _safer(self, key: str, images: NDArray[Any], probes: NDArray[Any]) -> dict[str, TypedGraph]:
        own, clean = self.parts.precisions[key], self.cut.graphs[key]
        if self.request.target.runtime != "tensorrt":
            return {}
        found = {"fp32": TypedGraph(clean, clean, {}, [])} if own != "fp32" else {}
        if own == "int8":
            found["fp16"] = self._typed(key, "fp16", images, probes)
        return found


def _multiply_adds(graph: onnx.ModelProto) -> int:
    """At least 1, so that every graph has a share."""
    index = GraphIndex(graph)
    return 1 + sum(multiply_adds(index, node) for node in index.nodes)
