"""Measurements of assignments: descriptor error, recall and latency.

Each is cached by the content of its inputs: an interrupted search goes on where it was, and the
same inputs give the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.compile.auto.assignment import Assignment, Executor, GpuExecutor
from edgevpr.compile.auto.decision import GroupError
from edgevpr.compile.auto.groups import Group
from edgevpr.compile.auto.tuning_images import GallerySearcher, TuningImages
from edgevpr.compile.cache import Cache, array_digest, graph_digest
from edgevpr.compile.graph.reference import describe

#: Calibration images that a group's descriptor error is averaged over.
ERROR_IMAGES = 16


class AssignmentRecall(msgspec.Struct, frozen=True):
    """Recall of an assignment, and how far its descriptors are from FP32's."""

    #: R@1 in percent.
    r1: float
    #: 1 - mean cosine, and the smallest cosine.
    error: float
    cosine: float
    #: images that FP32 answers rightly and this does not, and the other way round.
    lost: int = 0
    gained: int = 0


class AssignmentLatency(msgspec.Struct, frozen=True):
    """One image: of an assignment, and of the base beside it."""

    own: float
    base: float


@dataclass(frozen=True)
class AroundPart:
    """What surrounds one graph of a network that is cut at early exits."""

    #: (n, ...) what the graph reads of the tuning images; (m, ...) of extreme images.
    tuning: NDArray[Any]
    extreme: NDArray[Any]
    #: FP32 graphs that lead from its output to the descriptor.
    rest: tuple[onnx.ModelProto, ...]
    #: (n, d) descriptors of the tuning images by the whole route in FP32, which recall is held to.
    whole: NDArray[np.float32]


class _Alone(msgspec.Struct, frozen=True):
    int8_error: float
    fp16_error: float | None
    own_ms: float
    base_ms: float


@dataclass
class Measurements:
    """Measures assignments with an executor, with a gallery and its tuning images."""

    executor: Executor
    calibration: NDArray[Any]
    tuning: TuningImages
    gallery: GallerySearcher
    gallery_digest: str
    cache: Cache
    #: folder for what is not cached.
    scratch: Path
    #: ``tuning`` and ``calibration`` are then what the part reads; None: a whole network.
    around: AroundPart | None = None
    #: (n, d) FP32 descriptors of the tuning images, which are answered rightly, and their R@1.
    fp32: NDArray[np.float32] = field(init=False)
    fp32_right: NDArray[np.bool_] = field(init=False)
    fp32_r1: float = field(init=False)

    def __post_init__(self) -> None:
        self._made = 0
        self._key: dict[str, Any] = {
            "clean": graph_digest(self.executor.clean),
            "quantized": graph_digest(self.executor.quantized),
            "basis": self.executor.basis,
            "calibration": array_digest(self.calibration),
            "tuning": array_digest(self.tuning.images),
            "answers": self.tuning.answers_digest(),
            "gallery": self.gallery_digest,
        }
        if self.around is not None:
            self._key["rest"] = [graph_digest(graph) for graph in self.around.rest]
            self._key["whole"] = array_digest(self.around.whole)
        key = {n: self._key.get(n) for n in ("clean", "tuning", "rest")}
        found = self.cache.array(
            "descriptors",
            key,
            lambda: self._to_the_end(describe(self.executor.clean, self.tuning.images)),
            self._into(),
        )
        self.fp32 = np.asarray(found, np.float32)
        whole = self.fp32 if self.around is None else self.around.whole
        self.fp32_right = self.tuning.right(self.gallery, whole)
        self.fp32_r1 = 100.0 * float(self.fp32_right.mean())
        self._reference = self._describe(self.executor.clean)

    def alone(self, group: Group) -> GroupError:
        """One group in INT8 (and, for a GPU, in FP16), all others in FP32."""

        def measure() -> _Alone:
            assignment = Assignment(int8=(group.name,))
            int8 = self._error(self._describe(self.executor.graph(assignment)))
            half = None
            if isinstance(self.executor, GpuExecutor):
                half = self._error(self._describe(self.executor.half(group.name), as_written=True))
            return _Alone(int8, half, *self.executor.latency_ms(assignment))

        key = {**self._key, "group": group.name, "nodes": list(group.nodes)}
        alone = self.cache.record("auto-group", key, _Alone, measure, self._into())
        return GroupError(
            name=group.name,
            kind=group.kind,
            layers=len(group.nodes),
            mmacs=round(group.macs / 1e6, 2),
            int8_error=alone.int8_error,
            fp16_error=alone.fp16_error,
            saved_ms=round(alone.base_ms - alone.own_ms, 4),
        )

    def recall(self, assignment: Assignment, *, typed: bool = False) -> AssignmentRecall:
        """Recall of an assignment.

        Args:
            typed: of the graph that goes into the bundle, with its FP16; otherwise all but INT8 is
                FP32, which is much faster to run here.
        """

        def describe_it() -> NDArray[np.float32]:
            images = self.tuning.images
            if assignment == Assignment() and self.executor.base == "fp32":
                return self.fp32
            if assignment.int8 and not typed:
                return self._to_the_end(describe(self.executor.graph(assignment), images))
            return self._to_the_end(self.executor.describe(assignment, images))

        key = self._of(assignment, typed=typed)
        return self.cache.record(
            "auto-recall", key, AssignmentRecall, lambda: self._found(describe_it), self._into()
        )

    def latency(self, assignment: Assignment, *, again: bool = False) -> AssignmentLatency:
        """Latency of an assignment; ``again`` is timed anew, and for longer."""
        return self.cache.record(
            "auto-latency",
            self._of(assignment, again=again),
            AssignmentLatency,
            lambda: AssignmentLatency(*self.executor.latency_ms(assignment, again=again)),
            self._into(),
        )

    def megabytes(self, assignment: Assignment) -> float:
        """Weights: one byte in INT8, four in FP32, two in FP16."""
        sizes = {t.name: int(np.prod(t.dims)) for t in self.executor.clean.graph.initializer}
        int8, fp32 = (
            set(self.executor.named(assignment.int8)),
            set(self.executor.named(assignment.fp32)),
        )
        base, total = 4 if self.executor.base == "fp32" else 2, 0
        for node in self.executor.clean.graph.node:
            width = 1 if node.name in int8 else 4 if node.name in fp32 else base
            total += width * sum(sizes.pop(name, 0) for name in node.input)
        return total / 1e6

    def _describe(self, graph: onnx.ModelProto, *, as_written: bool = False) -> NDArray[np.float32]:
        """Descriptors of the images that a group's error is averaged over."""
        images = self.calibration[:ERROR_IMAGES]
        return self._to_the_end(describe(graph, images, as_written=as_written))

    def _to_the_end(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Descriptors from what the graph that is searched over gives."""
        for graph in self.around.rest if self.around else ():
            found = describe(graph, found)
        return found

    def _found(self, describe_it: Callable[[], NDArray[np.float32]]) -> AssignmentRecall:
        found = describe_it()
        if not np.isfinite(found).all():
            return AssignmentRecall(0.0, 1.0, 0.0, lost=int(self.fp32_right.sum()))
        cosine = (found * self.fp32).sum(axis=1)
        right = self.tuning.right(self.gallery, found)
        return AssignmentRecall(
            100.0 * float(right.mean()),
            float(1 - cosine.mean()),
            float(cosine.min()),
            lost=int((self.fp32_right & ~right).sum()),
            gained=int((right & ~self.fp32_right).sum()),
        )

    def _error(self, found: NDArray[np.float32]) -> float:
        """1 - mean cosine to FP32; 1 where a descriptor is not finite."""
        if not np.isfinite(found).all():
            return 1.0
        return float(1 - (found.astype(np.float64) * self._reference).sum(axis=1).mean())

    def _of(self, assignment: Assignment, **more: bool) -> dict[str, Any]:
        own = {"int8": sorted(assignment.int8), "fp32": sorted(assignment.fp32)}
        return {**self._key, **own, **more}

    def _into(self) -> Path:
        self._made += 1
        return self.scratch / f"measurement-{self._made}"
