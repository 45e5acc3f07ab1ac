"""Bundles with early exits: graphs, gates, the whole path, precisions."""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from edgevpr.artifacts.exit_contract import FULL, graphs_digest
from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import Artifact, sha256_file
from edgevpr.artifacts.records import BundleRecord
from edgevpr.cli.bundle import group
from edgevpr.compile.auto.search import Goal
from edgevpr.compile.auto.tuning_images import TuningImages
from edgevpr.compile.cache import Cache
from edgevpr.compile.exits import full_path, typed_parts
from edgevpr.compile.exits.cut import describe_routes, read_cut
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.graph.signature import load_graph, load_part
from edgevpr.compile.pipeline import compile_model
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.compile.request import CompileRequest, RecallGoal, request_for
from edgevpr.compile.source import ModelSource
from edgevpr.device.targets import load_target
from edgevpr.errors import NumericsError
from edgevpr.retrieval.projection import Projection
from tests.compile.auto.test_search import ExactMap
from tests.compile.cut_network import DESCRIPTOR, EXITS

Exits = Callable[..., Path]


def opened(path: Path) -> tuple[Artifact, BundleRecord]:
    bundle = open_artifact(path, "bundle")
    return bundle, bundle.read("bundle.json", BundleRecord)


def graphs_of(bundle: Artifact, record: BundleRecord) -> dict[str, np.ndarray]:
    """Descriptors of the golden images by exit, through the files of the bundle."""
    golden = np.load(bundle.file("golden_inputs.npy"))
    files = {file for exit in record.exits for file in exit.graphs}
    graphs = {file: onnx.load(str(bundle.file(file))) for file in files}
    routes = {exit.name: tuple(exit.graphs) for exit in record.exits}
    return describe_routes(graphs, routes, golden)


def golden_of(bundle: Artifact, record: BundleRecord) -> dict[str, np.ndarray]:
    early = np.load(bundle.file("golden_exits.npy"))
    full = np.load(bundle.file("golden_descriptors.npy"))
    return dict(zip([exit.name for exit in record.exits], [*early, full], strict=True))


@pytest.fixture
def fast_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments that are never too slow: launches of so small a network are most of its time."""
    monkeypatch.setattr(full_path, "LIMIT", 1e9)


@pytest.mark.usefixtures("fast_segments")
def test_exits_share_graphs_and_the_whole_path_is_the_network(
    cut_source: ModelSource, cut_images: CalibrationImages, tmp_path: Path
) -> None:
    """Every exit's golden descriptors from the bundle's own files; weights once; digests agree."""
    rng = np.random.default_rng(1)
    basis, _ = np.linalg.qr(rng.standard_normal((DESCRIPTOR, 16)))
    mean = np.full(DESCRIPTOR, 0.01, np.float32)
    projection = Projection(mean, np.ascontiguousarray(basis.T.astype(np.float32)))
    source = dataclasses.replace(cut_source, projection=projection, projection_sha256="3" * 64)
    compile_model(request_for(source, "cpu", "fp32", cut_images), tmp_path / "b")
    bundle, record = opened(tmp_path / "b")
    assert [exit.name for exit in record.exits] == ["1.0", "2.0", FULL]
    assert [exit.share for exit in record.exits] == [0.4, 0.8, 1.0]
    assert record.exits[-1].graphs == [f"graphs/{n}.onnx" for n in ("seg1", "seg2", "seg3", "tail")]
    assert "model.onnx" not in bundle.manifest.files
    assert record.graph_sha256 == graphs_digest(g.sha256 for g in record.graphs)
    assert (record.dim, record.output_dim) == (DESCRIPTOR, 16)
    found, golden = graphs_of(bundle, record), golden_of(bundle, record)
    for name, descriptors in found.items():
        np.testing.assert_allclose(descriptors, golden[name], atol=1e-6)
    images = np.load(bundle.file("golden_inputs.npy"))
    whole = projection.apply(describe(load_graph(cut_source.graph), images))
    np.testing.assert_allclose(found[FULL], whole, atol=1e-6)
    assert all(exit.ms_p50 is not None for exit in record.exits)
    path = record.evidence["full_path"]
    assert path["runs"] == "segments"
    assert path["segments"]["p50_ms"] > 0 < path["model.onnx"]["p50_ms"]
    sizes = [p.stat().st_size for p in (tmp_path / "b" / "graphs").iterdir()]
    assert cut_source.parts is not None
    parts = [p.stat().st_size for p in cut_source.parts.iterdir() if p.stem != "model"]
    assert sum(sizes) < 1.1 * sum(parts) + 16 * DESCRIPTOR * 8


def test_slow_segments_give_way_to_one_graph(
    cut_source: ModelSource,
    cut_images: CalibrationImages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole path is then model.onnx; the segment that only it ran is gone."""
    monkeypatch.setattr(full_path, "LIMIT", 0.0)
    compile_model(request_for(cut_source, "cpu", "fp32", cut_images), tmp_path / "b")
    bundle, record = opened(tmp_path / "b")
    assert record.exits[-1].graphs == ["model.onnx"]
    assert record.graph_sha256 == sha256_file(bundle.file("model.onnx"))
    assert "graphs/seg3.onnx" not in bundle.manifest.files
    assert record.evidence["full_path"]["runs"] == "model.onnx"
    golden = golden_of(bundle, record)
    for name, descriptors in graphs_of(bundle, record).items():
        np.testing.assert_allclose(descriptors, golden[name], atol=1e-6)


def test_separate_exits(compiled_exits: Exits) -> None:
    """Each exit is one graph of its own from image to descriptor."""
    bundle, record = opened(compiled_exits("cpu", "fp32", "separate"))
    assert [exit.graphs for exit in record.exits] == [
        ["graphs/exit-1.0.onnx"], ["graphs/exit-2.0.onnx"], ["model.onnx"],
    ]  # fmt: skip
    golden = golden_of(bundle, record)
    for name, descriptors in graphs_of(bundle, record).items():
        np.testing.assert_allclose(descriptors, golden[name], atol=1e-6)


def test_none_is_a_bundle_as_before(compiled_exits: Exits) -> None:
    """`exits` none leaves no trace of exits."""
    bundle, record = opened(compiled_exits("cpu", "fp32", "none"))
    assert (record.exits, record.graphs) == ([], [])
    assert "golden_exits.npy" not in bundle.manifest.files
    assert "model.onnx" in bundle.manifest.files


def with_bad_exit(source: ModelSource, folder: Path, *exits: str) -> ModelSource:
    """The network with adapters that FP16's steps change."""
    assert source.parts is not None
    shutil.copytree(source.parts, folder)
    for name in exits:
        graph = load_part(folder / f"adapt-{name}.onnx")
        first, conv = graph.graph.node[0], next(n for n in graph.graph.node if n.op_type == "Conv")
        assert first.input[0] == "state"
        # FP16 knows 10000 and 10008: what is added is not what is taken away again.
        make, given = onnx.helper.make_node, conv.input[0]
        detour = []
        for i, value in enumerate((10003.0, -10000.0, -3.0)):
            tensor = numpy_helper.from_array(np.float32(value), f"plus{i}")
            graph.graph.initializer.append(tensor)
            detour.append(make("Add", [given, f"plus{i}"], [f"sum{i}"], f"sum{i}"))
            given = f"back{i}"
            detour.append(make("Relu", [f"sum{i}"], [given], given))
        conv.input[0] = given
        nodes = [*([] if first is conv else [first]), *detour]
        nodes += [node for node in graph.graph.node if node is not first or first is conv]
        copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
        del graph.graph.node[:]
        graph.graph.node.extend(copies)
        onnx.save(graph, str(folder / f"adapt-{name}.onnx"))
    return dataclasses.replace(source, parts=folder)


def test_an_exit_that_fails_its_gate_is_dropped_and_named(
    cut_source: ModelSource,
    cut_images: CalibrationImages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others and the whole path stay. Rules that keep large values in FP32 are off here."""
    from edgevpr.compile.precision import gpu_graph

    monkeypatch.setattr(gpu_graph, "FP16_LARGEST", 1e9)
    source = with_bad_exit(cut_source, tmp_path / "cut", "2.0")
    compile_model(request_for(source, "jetson-orin", "fp16", cut_images), tmp_path / "b")
    bundle, record = opened(tmp_path / "b")
    assert [exit.name for exit in record.exits] == ["1.0", FULL]
    assert list(record.evidence["exits"]["dropped"]) == ["2.0"]
    assert "exit 2.0 in fp16" in record.evidence["exits"]["dropped"]["2.0"]
    assert any("exit 2.0 is left out" in text for text in record.evidence["warnings"])
    assert "graphs/adapt-2.0.onnx" not in bundle.manifest.files
    assert np.load(bundle.file("golden_exits.npy")).shape == (1, 8, DESCRIPTOR)
    source = with_bad_exit(cut_source, tmp_path / "both", "1.0", "2.0")
    compile_model(request_for(source, "jetson-orin", "fp16", cut_images), tmp_path / "static")
    _, record = opened(tmp_path / "static")
    assert record.exits == []
    assert sum("none is left" in text for text in record.evidence["warnings"]) == 2


def test_fp16_goes_from_graph_to_graph_on_a_gpu(compiled_exits: Exits) -> None:
    """Types agree at every boundary, and the gate is passed with room."""
    _, record = opened(compiled_exits("jetson-orin", "fp16"))
    graphs = {graph.file: graph for graph in record.graphs}
    for exit in record.exits:
        assert exit.min_cosine > 0.9999
        for before, after in itertools.pairwise(exit.graphs):
            assert graphs[before].output_type == graphs[after].input_type == "float16"
        assert graphs[exit.graphs[0]].input_type == "uint8"
        assert graphs[exit.graphs[-1]].output_type == "float32"
    _, record = opened(compiled_exits("jetson-orin", "fp32"))
    assert {graph.input_type for graph in record.graphs} == {"uint8", "float32"}


@pytest.mark.parametrize("target", ["cpu", "jetson-orin"])
def test_int8_is_inside_each_graph(compiled_exits: Exits, target: str) -> None:
    """Q and DQ stand in the graphs, and the exits are still near the FP32 network's."""
    bundle, record = opened(compiled_exits(target, "int8"))
    assert record.precision == "int8"
    assert all(exit.min_cosine > 0.99 for exit in record.exits)
    kinds = {
        node.op_type
        for graph in record.graphs
        for node in onnx.load(str(bundle.file(graph.file))).graph.node
    }
    assert "QuantizeLinear" in kinds
    assert {name.partition("/")[0] for name in record.evidence["int8_nodes"]} >= {"seg1", "seg2"}


def test_later_graphs_are_calibrated_on_what_earlier_ones_give(
    cut_source: ModelSource,
    cut_images: CalibrationImages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """seg2 reads INT8-rounded states of seg1, and the tail the tokens of all three exits."""
    read: dict[str, np.ndarray] = {}
    kept: dict[str, Any] = {}
    typed = typed_parts._Typing._typed

    def spy(self: Any, key: str, precision: str, images: Any, probes: Any) -> Any:
        read[key] = images
        kept[key] = typed(self, key, precision, images, probes)
        return kept[key]

    monkeypatch.setattr(typed_parts._Typing, "_typed", spy)
    compile_model(request_for(cut_source, "cpu", "int8", cut_images), tmp_path / "b")
    images = cut_images.calibration
    np.testing.assert_array_equal(read["seg2"], describe(kept["seg1"].graph, images))
    assert cut_source.parts is not None
    plain = describe(read_cut(cut_source.parts, ["1.0", "2.0"]).graphs["seg1"], images)
    assert abs(read["seg2"] - plain).max() > 1e-3
    assert len(read["tail"]) == len(images)
    graphs = {key: one.graph for key, one in kept.items()}
    for i, way in enumerate(
        [("seg1", "adapt-1.0"), ("seg1", "seg2", "adapt-2.0"), ("seg1", "seg2", "seg3")]
    ):
        tokens = describe_routes(graphs, {"": way}, images)[""]
        rows = [len(images[j::3]) for j in range(i)]
        found = read["tail"][sum(rows) : sum(rows) + len(images[i::3])]
        np.testing.assert_array_equal(found, tokens[i::3])


def test_auto_searches_every_graph_within_its_minutes(
    cut_source: ModelSource, cut_images: CalibrationImages, tmp_path: Path
) -> None:
    """Recall is held to the whole FP32 network's, whatever graph is searched over."""
    single = load_graph(cut_source.graph)
    views = cut_images.calibration
    good = [np.array([i]) for i in range(len(views))]
    tuning = TuningImages(views, good, np.full(len(views), -1, np.int64), "the views themselves")
    goal = RecallGoal(Goal(5.0, 1.0), tuning, ExactMap(describe(single, views)), "0")
    request = CompileRequest(cut_source, load_target("cpu"), "auto", cut_images, recall=goal)
    compile_model(request, tmp_path / "b")
    _, record = opened(tmp_path / "b")
    decisions = record.evidence["auto_graphs"]
    kept = {Path(graph.file).stem: graph.precision for graph in record.graphs}
    assert set(decisions) == set(kept)
    for key, decision in decisions.items():
        assert decision["precision"] == kept[key]
        if not key.startswith("adapt"):
            assert decision["fp32_r1"] == 100.0


def test_a_second_compilation_computes_nothing_again(
    cut_source: ModelSource, cut_images: CalibrationImages, tmp_path: Path
) -> None:
    """Graphs, descriptors and INT8 are found; another adapter is no longer the same."""
    request = request_for(cut_source, "cpu", "int8", cut_images)
    cache = Cache(tmp_path / "cache")
    compile_model(request, tmp_path / "a", cache=cache)
    first = len(cache.found)
    again = Cache(tmp_path / "cache")
    compile_model(request, tmp_path / "b", cache=again)
    assert len(again.found) > first
    _, a = opened(tmp_path / "a")
    _, b = opened(tmp_path / "b")
    digests = [{g.file: g.sha256 for g in record.graphs} for record in (a, b)]
    shared = digests[0].keys() & digests[1].keys()
    assert {f: digests[0][f] for f in shared} == {f: digests[1][f] for f in shared}
    changed = with_bad_exit(cut_source, tmp_path / "cut", "2.0")
    other = Cache(tmp_path / "cache")
    compile_model(request_for(changed, "cpu", "int8", cut_images), tmp_path / "c", cache=other)
    assert 0 < len(other.found) < len(again.found)


def test_segments_of_another_network_are_refused(
    cut_source: ModelSource, cut_images: CalibrationImages, tmp_path: Path
) -> None:
    """Segments that are not the network would be a bundle that answers wrongly at full."""
    assert cut_source.parts is not None
    folder = Path(shutil.copytree(cut_source.parts, tmp_path / "cut"))
    graph = load_part(folder / "seg2.onnx")
    tensor = graph.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    onnx.save(graph, str(folder / "seg2.onnx"))
    source = dataclasses.replace(cut_source, parts=folder)
    with pytest.raises(NumericsError, match="between the segments and the whole network"):
        compile_model(request_for(source, "cpu", "fp32", cut_images), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_bundle_show_has_a_row_an_exit(compiled_exits: Exits) -> None:
    """Exit, graphs, share of the cost, least cosine and milliseconds."""
    path = compiled_exits("jetson-orin", "fp16")
    shown = CliRunner().invoke(group, ["show", str(path)], catch_exceptions=False)
    lines = [" ".join(line.split()) for line in shown.output.splitlines()]
    assert any("1.0 seg1 adapt-1.0 tail 40 1.00000 - -" in line for line in lines)
    assert any("full seg1 seg2 seg3 tail 100 1.00000 - -" in line for line in lines)
    shown = CliRunner().invoke(group, ["show", str(path), "--json"], catch_exceptions=False)
    record = json.loads(shown.stdout)["bundle"]
    assert [exit["name"] for exit in record["exits"]] == [*(e.name for e in EXITS), FULL]
