"""Search for a precision: its limit, its evidence, its interruption."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgevpr.compile.auto.assignment import Assignment, CpuExecutor, Executor, GpuExecutor
from edgevpr.compile.auto.decision import AssignmentResult, Decision
from edgevpr.compile.auto.groups import Group, layer_groups
from edgevpr.compile.auto.measurements import Measurements
from edgevpr.compile.auto.search import Goal, Search
from edgevpr.compile.auto.tuning_images import TuningImages
from edgevpr.compile.cache import Cache
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.compile.precision.cpu_graph import quantize_cpu
from edgevpr.compile.precision.structure import int8_layers
from edgevpr.compile.precision.typed import TypedGraph
from edgevpr.device.targets import load_target
from edgevpr.places.table import ImageTable
from edgevpr.retrieval.exact import exact_search


class ExactMap:
    """A gallery searched exactly."""

    def __init__(self, descriptors: NDArray[np.float32]) -> None:
        self.descriptors = descriptors
        self.images = ImageTable.build([f"{i}.jpg" for i in range(len(descriptors))])

    def search(
        self, descriptors: NDArray[np.float32], k: int = 20
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return exact_search(descriptors, self.descriptors, k)


class Timed(CpuExecutor):
    """The real graphs, with latencies that are made up."""

    #: milliseconds that a group saves in INT8; others cost one.
    saves: dict[str, float]
    asked: int = 0

    def latency_ms(self, assignment: Assignment, *, again: bool = False) -> tuple[float, float]:
        self.asked += 1
        return 10.0 - sum(self.saves.get(name, -1.0) for name in assignment.int8), 10.0


@pytest.fixture(scope="module")
def groups(clean: onnx.ModelProto) -> list[Group]:
    return layer_groups(clean)


@pytest.fixture(scope="module")
def quantized(
    clean: onnx.ModelProto, groups: list[Group], images: CalibrationImages
) -> onnx.ModelProto:
    nodes = [node for group in groups for node in group.nodes]
    return quantize_cpu(clean, images.calibration[:12], nodes)


@pytest.fixture(scope="module")
def views() -> NDArray[np.uint8]:
    """One image of each of 24 places; queries are the same with noise."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (24, 9, 9, 3), dtype=np.uint8)
    return np.stack([cv2.resize(c, (128, 128), interpolation=cv2.INTER_CUBIC) for c in coarse])


@pytest.fixture(scope="module")
def gallery(clean: onnx.ModelProto, views: NDArray[np.uint8]) -> ExactMap:
    return ExactMap(describe(clean, views))


@pytest.fixture(scope="module")
def tuning(views: NDArray[np.uint8]) -> TuningImages:
    noise = np.random.default_rng(6).normal(0, 12, views.shape)
    noisy = np.clip(views + noise, 0, 255).astype(np.uint8)
    good = [np.array([i]) for i in range(len(views))]
    return TuningImages(noisy, good, np.full(len(views), -1, np.int64), "noisy views")


def search(
    executor: Executor,
    groups: Sequence[Group],
    images: CalibrationImages,
    tuning: TuningImages,
    gallery: ExactMap,
    folder: Path,
    *,
    drop: float = 5.0,
    minutes: float = 10.0,
    cache: Path | None = None,
    usual: Sequence[str] = (),
) -> tuple[Decision, TypedGraph]:
    measurements = Measurements(
        executor=executor,
        calibration=images.calibration[:6],
        tuning=tuning,
        gallery=gallery,
        gallery_digest="0",
        cache=Cache(cache),
        scratch=folder / "scratch",
    )
    decision, chosen = Search(measurements, groups, Goal(drop, minutes)).run(usual=usual)
    return decision, executor.typed(chosen)


def timed(
    clean: onnx.ModelProto,
    quantized: onnx.ModelProto,
    groups: Sequence[Group],
    images: CalibrationImages,
    saves: dict[str, float],
) -> Timed:
    executor = Timed(clean, quantized, groups, images.calibration[0])
    executor.saves = saves
    return executor


def test_what_gains_goes_to_int8_and_nothing_else(
    clean: onnx.ModelProto,
    quantized: onnx.ModelProto,
    groups: list[Group],
    images: CalibrationImages,
    tuning: TuningImages,
    gallery: ExactMap,
    tmp_path: Path,
) -> None:
    """The decision, its evidence and the graph agree; nothing over the limit is chosen."""
    gaining = {groups[2].name: 1.0, groups[5].name: 2.0}
    executor = timed(clean, quantized, groups, images, gaining)
    decision, typed = search(
        executor, groups, images, tuning, gallery, tmp_path, drop=20,
        usual=[layer.name for layer in int8_layers(clean)],
    )  # fmt: skip
    assert decision.precision == "int8"
    assert "faster" in decision.reason
    in_int8 = {g.name for g in decision.groups if g.precision == "int8"}
    assert in_int8 == set(gaining)
    assert set(typed.int8_nodes) == {n for g in groups if g.name in gaining for n in g.nodes}
    assert any(n.op_type == "QuantizeLinear" for n in typed.graph.graph.node)
    (chosen,) = [c for c in decision.candidates if c.verdict == "chosen"]
    assert chosen.name == decision.chosen
    assert chosen.drop <= 20
    assert chosen.latency_ms == pytest.approx(7.0)
    own = gallery.search(describe(typed.graph, tuning.images), 1)[1][:, 0]
    assert chosen.r1 == pytest.approx(100 * np.mean(own == np.arange(len(own))), abs=1e-3)
    assert all(c.verdict for c in decision.candidates)
    assert len(decision.groups) == len(groups)
    assert all(g.int8_error >= -1e-6 for g in decision.groups)


def test_of_equally_fast_assignments_the_one_with_most_recall_wins() -> None:
    """A slower one with more recall does not."""
    rows = {"a": (99.0, 8.00), "b": (99.5, 8.05), "c": (100.0, 9.0)}
    found = Search.__new__(Search)
    found.goal = Goal(2.0)
    found.measurements = SimpleNamespace(fp32_r1=100.0)  # type: ignore[assignment]
    found.executor = SimpleNamespace(provenance="measured")  # type: ignore[assignment]
    found.seen = {Assignment(): AssignmentResult("base", [], [], 100, 0, 0, 10, 10, 4)} | {
        Assignment(int8=(name,)): AssignmentResult(name, [name], [], r1, 100 - r1, 0, ms, 10, 3)
        for name, (r1, ms) in rows.items()
    }
    assert found._fastest(Assignment())[0].int8 == ("b",)


@pytest.mark.parametrize(
    ("lost", "gained", "remarked"),
    [(0, 0, False), (1, 1, True), (3, 0, True), (0, 1, False)],
)
def test_a_drop_that_few_images_cannot_resolve_is_remarked(
    lost: int, gained: int, remarked: bool
) -> None:
    """As many answers gained as lost is a drop of 0 with an error of its own."""
    images = 400
    found = Search.__new__(Search)
    found.goal, found.remarks = Goal(0.5), []
    drop = 100 * (lost - gained) / images
    found._resolve(
        AssignmentResult("a", ["a"], [], 90, drop, 0, 8, 10, 3, lost=lost, gained=gained), images
    )
    assert bool(found.remarks) == remarked
    assert not remarked or "more tuning images" in found.remarks[0]


def test_int8_that_gains_nothing_is_refused(
    clean: onnx.ModelProto,
    quantized: onnx.ModelProto,
    groups: list[Group],
    images: CalibrationImages,
    tuning: TuningImages,
    gallery: ExactMap,
    tmp_path: Path,
) -> None:
    """FP32 stays, and the evidence has the reason."""
    executor = timed(clean, quantized, groups, images, {})
    usual = [layer.name for layer in int8_layers(clean)]
    decision, typed = search(
        executor, groups, images, tuning, gallery, tmp_path, drop=100, usual=usual
    )
    assert decision.precision == "fp32"
    assert "INT8 is not faster" in decision.reason
    assert typed.graph is clean
    assert decision.remarks == ["no group of layers is faster in INT8"]


def test_the_limit_holds(
    clean: onnx.ModelProto,
    quantized: onnx.ModelProto,
    groups: list[Group],
    images: CalibrationImages,
    tuning: TuningImages,
    gallery: ExactMap,
    tmp_path: Path,
) -> None:
    """Wherever INT8 loses recall, FP32 stays, however fast INT8 would be."""

    class Broken(Timed):
        def graph(self, assignment: Assignment) -> onnx.ModelProto:
            graph = super().graph(assignment)
            if not assignment.int8:
                return graph
            broken = onnx.ModelProto()
            broken.CopyFrom(graph)
            for tensor in broken.graph.initializer:
                if tensor.name.startswith("projection.bias"):
                    values = onnx.numpy_helper.to_array(tensor)
                    tensor.CopyFrom(onnx.numpy_helper.from_array(values + 9, tensor.name))
            return broken

    executor = Broken(clean, quantized, groups, images.calibration[0])
    executor.saves = {groups[2].name: 1.0, groups[3].name: 1.0, groups[5].name: 2.0}
    decision, _ = search(executor, groups, images, tuning, gallery, tmp_path)
    assert decision.precision == "fp32"
    assert "keeps R@1 within 5 points" in decision.reason
    assert {c.verdict.split()[0] for c in decision.candidates} == {"chosen", "loses"}


def test_an_interrupted_search_goes_on(
    clean: onnx.ModelProto,
    quantized: onnx.ModelProto,
    groups: list[Group],
    images: CalibrationImages,
    tuning: TuningImages,
    gallery: ExactMap,
    tmp_path: Path,
) -> None:
    """Measurements are found again and give the same decision."""
    saves = {group.name: 0.5 for group in groups[1:4]}

    class Interrupted(Timed):
        def latency_ms(self, assignment: Assignment, *, again: bool = False) -> tuple[float, float]:
            if self.asked == 4:
                raise KeyboardInterrupt
            return super().latency_ms(assignment, again=again)

    arguments = (groups, images, tuning, gallery, tmp_path)
    first = Interrupted(clean, quantized, groups, images.calibration[0])
    first.saves = saves
    with pytest.raises(KeyboardInterrupt):
        search(first, *arguments, cache=tmp_path / "cache", drop=100)
    second = timed(clean, quantized, groups, images, saves)
    found, _ = search(second, *arguments, cache=tmp_path / "cache", drop=100)
    third = timed(clean, quantized, groups, images, saves)
    again, _ = search(third, *arguments, cache=tmp_path / "cache", drop=100)
    assert second.asked > 0
    assert third.asked == 0
    assert [found.candidates, found.groups] == [again.candidates, again.groups]
    assert found.reason == again.reason


def test_other_answers_to_the_same_images_are_measured_anew(
    clean: onnx.ModelProto,
    quantized: onnx.ModelProto,
    groups: list[Group],
    images: CalibrationImages,
    tuning: TuningImages,
    gallery: ExactMap,
    tmp_path: Path,
) -> None:
    """Another radius changes what counts as right, and no descriptor."""
    r1 = []
    for positives in (tuning.positives, [np.array([], np.int64) for _ in tuning.positives]):
        asked = dataclasses.replace(tuning, positives=positives)
        decision, _ = search(
            timed(clean, quantized, groups[2:3], images, {groups[2].name: 1.0}), groups[2:3],
            images, asked, gallery, tmp_path, cache=tmp_path / "cache",
        )  # fmt: skip
        r1.append(decision.candidates[0].r1)
    assert r1[0] > r1[1] == 0


def test_groups_left_out_for_time_are_remarked(
    clean: onnx.ModelProto,
    quantized: onnx.ModelProto,
    groups: list[Group],
    images: CalibrationImages,
    tuning: TuningImages,
    gallery: ExactMap,
    tmp_path: Path,
) -> None:
    """They stay in the base precision."""
    executor = timed(clean, quantized, groups, images, {group.name: 1.0 for group in groups})
    decision, _ = search(executor, groups, images, tuning, gallery, tmp_path, minutes=1e-9)
    assert decision.precision == "fp32"
    assert any("the time was up" in remark for remark in decision.remarks)


def test_latency_on_a_gpu_is_predicted(
    clean: onnx.ModelProto,
    quantized: onnx.ModelProto,
    groups: list[Group],
    images: CalibrationImages,
    tuning: TuningImages,
    gallery: ExactMap,
    tmp_path: Path,
) -> None:
    """The decision names the figures; FP16 has errors of its own."""
    few = [group for group in groups if group.kind in ("convolution", "stem", "head")]
    target = load_target("jetson-orin-nano-8gb")
    executor = GpuExecutor(clean, quantized, few, images.calibration[:4], target)
    decision, typed = search(executor, few, images, tuning, gallery, tmp_path, drop=20)
    assert decision.provenance == "predicted"
    assert "jetson-orin-nano-8gb" in decision.basis
    assert all(g.fp16_error is not None and g.fp16_error < 1e-3 for g in decision.groups)
    assert decision.candidates[0].name == "fp16"
    types = {t.data_type for t in typed.graph.graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    assert bool(typed.int8_nodes) == (decision.precision == "int8")
