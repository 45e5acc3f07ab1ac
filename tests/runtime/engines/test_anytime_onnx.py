"""ONNX Runtime with early exits: every way's descriptor, what is kept, what is refused."""

import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.errors import ArtifactError, CorruptArtifactError
from edgevpr.runtime import OnnxRunner, runner_from_bundle
from edgevpr.runtime.engines.anytime_onnx import AnytimeOnnxRunner

from ..anytime import EXITS, WAYS, tensors, write_anytime_bundle, write_part
from ..build import DIM, SIDE, write_bundle


def images(count: int = 4) -> np.ndarray:
    shape = (count, SIDE, SIDE, 3)
    return np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)


def opened(path: Path) -> AnytimeOnnxRunner:
    runner = runner_from_bundle(open_artifact(path, "bundle"), threads=1)
    assert isinstance(runner, AnytimeOnnxRunner)
    return runner


def apart(bundle: Path, exit: str, image: np.ndarray) -> np.ndarray:
    """Descriptor of an exit by sessions that are run by hand, one after the other."""
    import onnxruntime

    value: Any = image
    for file in WAYS[exit]:
        session = onnxruntime.InferenceSession(bundle / file, providers=["CPUExecutionProvider"])
        value = session.run(None, {tensors(file)[0][0]: value})[0]
    return np.asarray(value)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_anytime_bundle(tmp_path / "b")


@pytest.mark.parametrize("whole", [False, True])
def test_every_exit_from_everywhere(tmp_path: Path, whole: bool) -> None:
    """In any order of exits, on one frame after another, each gives its own descriptor: a buffer
    read for the wrong exit or frame would give another's."""
    path = write_anytime_bundle(tmp_path / "b", whole=whole)
    expected = {
        (exit, i): apart(write_anytime_bundle(tmp_path / f"{exit}{i}"), exit, image[None])
        for exit in EXITS
        for i, image in enumerate(images())
    }
    order = np.random.default_rng(0)
    with opened(path) as runner:
        assert runner.exits == EXITS
        for _ in range(20):
            i = int(order.integers(4))
            runner.start(images()[i : i + 1])
            for exit in order.choice(EXITS, 5):
                np.testing.assert_allclose(runner.at(exit), expected[exit, i], atol=1e-6)


def test_the_whole_path_is_the_whole_graph(tmp_path: Path, bundle: Path) -> None:
    """``infer`` goes the whole path, for several images too, and its rows are the caller's."""
    single = write_bundle(tmp_path / "single")
    with opened(bundle) as runner, OnnxRunner(single / "model.onnx", threads=1) as whole:
        first = runner.infer(images()[:1])
        kept = first.copy()
        together = runner.infer(images())
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_allclose(together, whole.infer(images()), atol=1e-6)
        assert together.shape == (4, DIM)


class Counted:
    """A session that counts its runs."""

    def __init__(self, session: Any, runs: list[str], file: str) -> None:
        self._session, self._runs, self._file = session, runs, file

    def run_with_iobinding(self, binding: Any) -> None:
        self._runs.append(Path(self._file).stem)
        self._session.run_with_iobinding(binding)


def counted(runner: AnytimeOnnxRunner) -> list[str]:
    runs: list[str] = []
    for file, (session, binding) in runner._bound.items():
        runner._bound[file] = Counted(session, runs, file), binding
    return runs


def test_going_on_computes_only_what_is_missing(bundle: Path) -> None:
    """What the first exit computed is not computed again, and the same exit twice is free."""
    runner = opened(bundle)
    runs = counted(runner)
    runner.start(images()[:1])
    runner.at("L4")
    assert runs == ["seg1", "adapt-L4", "tail"]
    runs.clear()
    runner.at("full")
    assert runs == ["seg2", "seg3", "tail"]
    runs.clear()
    runner.at("full")
    assert runs == []
    runner.at("L8")
    assert runs == ["adapt-L8", "tail"]
    runs.clear()
    runner.start(images()[1:2])
    runner.at("L8")
    assert runs == ["seg1", "seg2", "adapt-L8", "tail"]


def test_a_change_of_exit_allocates_nothing(bundle: Path) -> None:
    """Memory does not grow over many changes of exit, and at no moment is more allocated than
    the row that is given away: no new buffer, binding or session."""
    runner = opened(bundle)
    image = images()[:1]

    def frames(count: int) -> None:
        for number in range(count):
            runner.start(image)
            runner.at(EXITS[number % 3])
            runner.at("full")

    buffers = [array.ctypes.data for array in runner._arrays]
    frames(30)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        frames(300)
        after, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2048
    assert most - before < 4096
    assert [array.ctypes.data for array in runner._arrays] == buffers


def test_a_graph_put_in_the_place_of_another(tmp_path: Path, bundle: Path) -> None:
    """A graph swapped after the check, and one swapped with its manifest, are refused: what was
    hashed and described is what runs."""
    opening = open_artifact(bundle, "bundle")
    write_part(tmp_path / "other.onnx", "graphs/adapt-L4.onnx")
    (tmp_path / "other.onnx").write_bytes((bundle / "graphs/adapt-L8.onnx").read_bytes())
    (tmp_path / "other.onnx").replace(bundle / "graphs/adapt-L4.onnx")
    with pytest.raises(CorruptArtifactError, match=r"adapt-L4\.onnx has changed"):
        runner_from_bundle(opening)

    def swap(folder: Path) -> None:
        four, eight = folder / "graphs/adapt-L4.onnx", folder / "graphs/adapt-L8.onnx"
        four.rename(folder / "x")
        eight.rename(four)
        (folder / "x").rename(eight)

    swapped = write_anytime_bundle(tmp_path / "swapped", extra=swap)
    with pytest.raises(ArtifactError, match=r"adapt-L4\.onnx with the SHA-256"):
        runner_from_bundle(open_artifact(swapped, "bundle"))


def changed(record: BundleRecord, which: str, /, **fields: Any) -> BundleRecord:
    graphs = [
        msgspec.structs.replace(graph, **fields) if graph.file == which else graph
        for graph in record.graphs
    ]
    return msgspec.structs.replace(record, graphs=graphs)


def by_way(record: BundleRecord, way: list[str]) -> BundleRecord:
    exit = msgspec.structs.replace(record.exits[1], graphs=way)
    return msgspec.structs.replace(record, exits=[record.exits[0], exit, record.exits[2]])


SEG1, TAIL = "graphs/seg1.onnx", "graphs/tail.onnx"


def test_graphs_in_a_circle(tmp_path: Path) -> None:
    """A graph that would read what it writes: the shapes agree, the way is none."""

    def twice(record: BundleRecord) -> BundleRecord:
        return by_way(record, WAYS["L8"][:2] + WAYS["L8"][1:])

    path = write_anytime_bundle(tmp_path / "b", change=twice)
    with pytest.raises(CorruptArtifactError, match=r"seg2\.onnx in a circle"):
        runner_from_bundle(open_artifact(path, "bundle"))


def test_a_graph_of_another_name_than_its_record(tmp_path: Path) -> None:
    """ONNX Runtime would fail on its first frame."""
    path = write_anytime_bundle(
        tmp_path / "b", change=lambda record: changed(record, TAIL, input="token")
    )
    with pytest.raises(CorruptArtifactError, match=r"from tokens .* expected from token "):
        runner_from_bundle(open_artifact(path, "bundle"))


def test_a_graph_of_other_ends_than_its_record(tmp_path: Path) -> None:
    """The record may agree with its neighbours and still not with the graph itself."""

    def both(record: BundleRecord) -> BundleRecord:
        for file, end in (
            (SEG1, "output_shape"),
            *((f"graphs/{name}.onnx", "input_shape") for name in ("seg2", "adapt-L4")),
        ):
            record = changed(record, file, **{end: [1, 13]})
        return record

    path = write_anytime_bundle(tmp_path / "b", change=both)
    with pytest.raises(CorruptArtifactError, match=r"\(1, 12\).*expected .*\(1, 13\)"):
        runner_from_bundle(open_artifact(path, "bundle"))
