"""Export of a network with exits, and its bundle: the same descriptors as torch's at every exit."""

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import onnx  # noqa: E402

from edgevpr.artifacts.folder import open_artifact  # noqa: E402
from edgevpr.artifacts.records import BundleRecord  # noqa: E402
from edgevpr.compile.exits.cut import describe_routes, read_cut  # noqa: E402
from edgevpr.compile.options import CompileOptions  # noqa: E402
from edgevpr.compile.pipeline import compile_artifact  # noqa: E402
from edgevpr.errors import NumericsError, UsageError  # noqa: E402
from edgevpr.preprocess import Preprocess  # noqa: E402
from edgevpr.train.anytime import export_segments as module  # noqa: E402
from edgevpr.train.anytime.anytime_network import AnytimeNetwork, ExitSpec  # noqa: E402
from edgevpr.train.anytime.codebook import Codebook  # noqa: E402
from edgevpr.train.anytime.export_segments import export_segments  # noqa: E402
from edgevpr.train.anytime.store import load_anytime, save_anytime  # noqa: E402
from edgevpr.train.networks.architecture import Architecture  # noqa: E402
from edgevpr.train.networks.export import export_onnx  # noqa: E402
from edgevpr.train.networks.model import load_model, save_model  # noqa: E402
from edgevpr.train.networks.network import Network  # noqa: E402

SIDE, EXITS = 64, ("1.0", "2.0")


def anytime_model(folder: Path) -> Path:
    """A ResNet with a composing and a regressing exit, all weights random."""
    torch.manual_seed(0)
    network = Network(Architecture("resnet10t", 3, aggregator="gem"), (SIDE, SIDE))
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
    size = Preprocess(SIDE, SIDE)
    save_model(folder / "m", network, role="gallery", preprocess=size, training={}, config={})
    network, _, _ = load_model(folder / "m")
    specs = [ExitSpec(EXITS[0], "composition"), ExitSpec(EXITS[1], "regression")]
    width = (
        AnytimeNetwork(network, [ExitSpec(EXITS[0], "regression")], None, (SIDE, SIDE))
        .tokens(torch.zeros(1, 3, SIDE, SIDE))
        .shape[2]
    )
    anytime = AnytimeNetwork(network, specs, Codebook(4, 8, width), (SIDE, SIDE))
    save_anytime(folder / "a", anytime, source=folder / "m", training={}, config={})
    return folder / "a"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return anytime_model(tmp_path_factory.mktemp("anytime"))


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its graphs, exported once: torch's exporter takes seconds a graph."""
    folder = tmp_path_factory.mktemp("graphs")
    assert export_segments(model, folder) < 1e-4
    return folder


def test_the_graphs_give_what_torch_gives(model: Path, exported: Path) -> None:
    """At every exit and at full; the state of each segment is the next one's input."""
    cut = read_cut(exported, EXITS)
    anytime, record, _ = load_anytime(model)
    images = np.random.default_rng(3).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    found = describe_routes(cut.graphs, cut.routes, images)
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (record.preprocess.mean, record.preprocess.std)
    )
    normalized = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.no_grad():
        for name in (*EXITS, "full"):
            expected = anytime(normalized, name).numpy()
            np.testing.assert_allclose(found[name], expected, atol=1e-4)


def test_a_difference_to_torch_is_refused(
    model: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named with its exit, before anything is compiled from it."""

    def write(_: object, example: object, out: Path, given: str, gives: str) -> None:
        graph = onnx.load(str(exported / out.name))
        if out.stem == "adapt-2.0":
            weights = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
            values = 1.01 * onnx.numpy_helper.to_array(weights)
            weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        onnx.save(graph, str(out))

    monkeypatch.setattr(module, "write_onnx", write)
    with pytest.raises(NumericsError, match=r"torch at exit 2\.0, .*pass `exits` none"):
        export_segments(model, tmp_path)


def test_a_model_with_exits_becomes_a_bundle(model: Path, exported: Path, tmp_path: Path) -> None:
    """From the artifact to golden vectors by exit that the bundle's own graphs give."""
    record = compile_artifact(
        model,
        CompileOptions(target="cpu"),
        out=tmp_path / "b",
        export=export_onnx,
        export_parts=lambda _, into: shutil.copytree(exported, into, dirs_exist_ok=True),
    )
    assert [exit.name for exit in record.exits] == [*EXITS, "full"]
    assert 0 < record.exits[0].share < record.exits[1].share < 1
    bundle = open_artifact(tmp_path / "b", "bundle")
    files = {file for exit in record.exits for file in exit.graphs}
    graphs = {file: onnx.load(str(bundle.file(file))) for file in files}
    routes = {exit.name: tuple(exit.graphs) for exit in record.exits}
    found = describe_routes(graphs, routes, np.load(bundle.file("golden_inputs.npy")))
    for name, golden in zip(EXITS, np.load(bundle.file("golden_exits.npy")), strict=True):
        np.testing.assert_allclose(found[name], golden, atol=1e-5)
    full = np.load(bundle.file("golden_descriptors.npy"))
    np.testing.assert_allclose(found["full"], full, atol=1e-5)


def test_separate_needs_a_model_with_exits(model: Path, tmp_path: Path) -> None:
    """Refused before the export; together and none take any model."""
    options = CompileOptions(target="cpu", exits="separate")
    with pytest.raises(UsageError, match="has no early exits"):
        compile_artifact(model.parent / "m", options, out=tmp_path / "b", export=export_onnx)
    none = CompileOptions(target="cpu", exits="none")
    compile_artifact(model, none, out=tmp_path / "b", export=export_onnx)
    record = open_artifact(tmp_path / "b", "bundle").read("bundle.json", BundleRecord)
    assert record.exits == []
