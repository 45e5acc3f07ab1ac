"""ONNX graphs as gallery networks: what they compute, what they are for, what is refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgevpr.artifacts.features import Features  # noqa: E402
from edgevpr.artifacts.manifest import read_json  # noqa: E402
from edgevpr.artifacts.records import ModelRecord  # noqa: E402
from edgevpr.cli.main import run  # noqa: E402
from edgevpr.compile.source import read_source  # noqa: E402
from edgevpr.errors import DataError, NumericsError, UsageError  # noqa: E402
from edgevpr.preprocess import Preprocess, read_image  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402
from edgevpr.train.evaluate.evaluate import evaluate  # noqa: E402
from edgevpr.train.fit import fit  # noqa: E402
from edgevpr.train.networks.load_network import load_network  # noqa: E402
from edgevpr.train.networks.model import load_model  # noqa: E402
from edgevpr.train.networks.onnx_network import import_onnx  # noqa: E402

from ..runs import query_config  # noqa: E402

SIZE = 64
#: as the query network of ``query_config`` has.
DIM = 128
PREPROCESS = Preprocess(SIZE, SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
WEIGHTS = np.random.default_rng(5).normal(size=(DIM, 3, SIZE, SIZE)).astype(np.float32)


def graph(
    path: Path,
    *,
    batch: int | str = "batch",
    size: int | str = SIZE,
    kind: int = TensorProto.FLOAT,
    outputs: Sequence[str] = ("descriptor",),
    weights: NDArray[np.float32] = WEIGHTS,
    mixing: bool = False,
) -> Path:
    """A convolution over the whole image, flattened: one row of products for each of DIM kernels.

    mixing: takes the batch's mean off, as BatchNorm in training does.
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["pixels", "w"], ["map"]),
        helper.make_node("Flatten", ["map"], [outputs[0] if not mixing else "flat"]),
    ]
    if mixing:
        nodes += [
            helper.make_node("ReduceMean", ["flat", "axes"], ["mean"], keepdims=1),
            helper.make_node("Sub", ["flat", "mean"], [outputs[0]]),
        ]
    nodes += [helper.make_node("Identity", ["map"], [name]) for name in outputs[1:]]
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", kind, [batch, 3, size, size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([0], np.int64), "axes"),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


def expected(image: Path) -> NDArray[np.float64]:
    """The descriptor of an image in float64, from its pixels."""
    pixels = PREPROCESS.resize(read_image(image)).astype(np.float64) / 255
    normalized = ((pixels - PREPROCESS.mean) / PREPROCESS.std).transpose(2, 0, 1)
    values = np.tensordot(WEIGHTS.astype(np.float64), normalized, 3)
    result: NDArray[np.float64] = values / np.linalg.norm(values)
    return result


@pytest.fixture
def model(tmp_path: Path) -> Path:
    import_onnx(graph(tmp_path / "net.onnx"), tmp_path / "model", PREPROCESS)
    return tmp_path / "model"


@pytest.mark.parametrize("batch", ["batch", 1])
def test_embed_gives_the_graphs_descriptors(tiny: Path, tmp_path: Path, batch: int | str) -> None:
    """Mean, deviation and channel order are the graph's, and its file is all that is needed."""
    source = graph(tmp_path / "net.onnx", batch=batch)
    record = import_onnx(source, tmp_path / "model", PREPROCESS)
    source.unlink()
    embed(tmp_path / "model", tiny / "train", tmp_path / "features", workers=0, batch_size=5)
    features = Features(tmp_path / "features")
    wanted = [expected(tiny / "train" / path) for path in features.table.paths]
    np.testing.assert_allclose(features.descriptors, wanted, atol=1e-3)
    assert record.dim == features.record.dim == DIM
    assert record.role == features.record.role == "gallery"
    assert features.record.preprocess == PREPROCESS
    assert features.space.startswith(f"onnx-{DIM}-")


def test_the_space_is_of_graph_and_preprocessing(tmp_path: Path) -> None:
    """The same two give one space wherever they are imported; another of either another one."""
    first = graph(tmp_path / "a.onnx")
    second = graph(tmp_path / "b.onnx", weights=WEIGHTS * np.float32(1.001))
    plain = Preprocess(SIZE, SIZE)
    spaces = []
    for number, (source, preprocess) in enumerate(
        [(first, plain), (first, plain), (first, PREPROCESS), (second, plain)]
    ):
        import_onnx(source, tmp_path / f"m{number}", preprocess)
        spaces.append(load_network(tmp_path / f"m{number}")[2].space)
    assert spaces[0] == spaces[1]
    assert len(set(spaces)) == 3


def test_a_query_network_is_trained_into_its_space(tiny: Path, model: Path, tmp_path: Path) -> None:
    """train --features takes its features; eval measures both, alone and against each other."""
    embed(model, tiny / "train", tmp_path / "features", workers=0)
    embed(model, tiny / "val" / "database", tmp_path / "database", workers=0)
    symmetric = evaluate(model, tiny / "val")
    assert symmetric.recall.queries
    against = evaluate(model, tiny / "val", features=tmp_path / "database")
    np.testing.assert_array_equal(against.rows, symmetric.rows)
    config = query_config(tiny, tmp_path, epochs=1)
    fit(config, tmp_path / "query")
    assert load_model(tmp_path / "query")[2].space == Features(tmp_path / "features").space
    assert evaluate(tmp_path / "query", tiny / "val", features=tmp_path / "database").recall


def test_it_is_not_compiled_nor_trained(model: Path, tmp_path: Path) -> None:
    """In a sentence of what it is for, before anything is looked for in it."""
    for call in (
        lambda: load_model(model),
        lambda: read_source(model, tmp_path / "x.onnx"),
        lambda: run(["compile", str(model), "-t", "cpu", "-o", str(tmp_path / "bundle")]),
    ):
        with pytest.raises(UsageError, match=r"an ONNX graph as the network .* only describes"):
            call()
    with pytest.raises(UsageError):
        embed(model, tmp_path, tmp_path / "f", exit="2.0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 32, "weights": WEIGHTS[..., :32, :32].copy()}, r"the input image \(batch, 3, 32"),
        ({"batch": 4}, r"the input image \(4, 3"),
        ({"kind": TensorProto.DOUBLE}, r"tensor\(double\)"),
        ({"outputs": ("descriptor", "map2")}, "1 inputs and 2 outputs"),
        ({"mixing": True}, "among others|zeros"),
        ({"size": "side", "weights": WEIGHTS[:2, :, :9, :9].copy()}, None),
    ],
)
def test_other_graphs_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str | None
) -> None:
    source = graph(tmp_path / "net.onnx", **changes)  # type: ignore[arg-type]
    if message is None:  # a map flattened is a descriptor, too
        assert import_onnx(source, tmp_path / "model", PREPROCESS).dim == 2 * (SIZE - 8) ** 2
        return
    with pytest.raises((DataError, NumericsError), match=message):
        import_onnx(source, tmp_path / "model", PREPROCESS)
    assert not (tmp_path / "model").exists()


def test_descriptors_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    for value, message in ((np.nan, "NaN"), (0.0, "zeros")):
        source = graph(tmp_path / "net.onnx", weights=np.full_like(WEIGHTS, value))
        with pytest.raises(NumericsError, match=message):
            import_onnx(source, tmp_path / "model", PREPROCESS)


def test_weights_must_be_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph with files beside it would lose them in the artifact, or read another's."""
    source = graph(tmp_path / "net.onnx")
    onnx.save(
        onnx.load(source), tmp_path / "beside.onnx", save_as_external_data=True, location="w.bin",
        size_threshold=0,
    )  # fmt: skip
    assert (tmp_path / "w.bin").is_file()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="expected an ONNX file with its weights inside"):
        import_onnx(tmp_path / "beside.onnx", tmp_path / "model", PREPROCESS)


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    for name, content in (("a.onnx", b""), ("b.onnx", b"\x08\x0ano graph"), ("c", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"found .*, expected an ONNX"):
            import_onnx(tmp_path / name, tmp_path / "model", PREPROCESS)


def test_a_real_network_on_real_frames(shared: Path, tmp_path: Path) -> None:
    """ResNet-50: the descriptors are those that ONNX Runtime gives for the resized pixels."""
    import onnxruntime

    source = shared / "weights" / "resnet50_layer3_gem.onnx"
    frames = shared / "data" / "corridor" / "ref"
    if not source.is_file() or not frames.is_dir():
        pytest.skip("no ResNet-50 or no corridor in the shared data")
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (0, 40, 80):
        image = frames / f"{number:07d}.jpg"
        (folder / f"@{500000 + number}@5000000@33@T@.jpg").write_bytes(image.read_bytes())
    mean = np.array([123.68, 116.779, 103.939])
    preprocess = Preprocess(96, 128, "linear", tuple((mean / 255).tolist()), (1.0, 1.0, 1.0))
    assert import_onnx(source, tmp_path / "model", preprocess).dim == 1024
    embed(tmp_path / "model", folder, tmp_path / "features", workers=0)
    found = Features(tmp_path / "features")
    pixels = [preprocess.resize(read_image(folder / path)) for path in found.table.paths]
    given = ((np.stack(pixels) - mean) / 255).transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(found.descriptors, session.run(None, {"image": given})[0], atol=1e-3)


def test_the_verb(tmp_path: Path) -> None:
    """Size, mean, deviation and filter are in the record; what is missing is asked for."""
    source = str(graph(tmp_path / "net.onnx"))
    words = ["models", "--onnx", source, "-o", str(tmp_path / "model")]
    given = ["--mean", "0.5", "0.4", "0.3", "--std", "1", "1", "1", "--interpolation", "cubic"]
    run([*words, "--input-size", "64", *given])
    record = read_json(tmp_path / "model" / "model.json", ModelRecord)
    assert record.preprocess == Preprocess(64, 64, "cubic", (0.5, 0.4, 0.3), (1.0, 1.0, 1.0))
    for more in ([], ["--input-size", "0"], ["--input-size", "64,a"], ["--input-size", "1,2,3"]):
        with pytest.raises(UsageError, match="--input-size"):
            run([*words, *more])
    with pytest.raises(UsageError, match="above 0"):
        run([*words, "--input-size", "64", "--std", "0", "1", "1"])
    with pytest.raises(UsageError, match="pass --onnx"):
        run(["models", "--mean", "0.5", "0.4", "0.3"])
    with pytest.raises(UsageError, match="one network at a time"):
        run([*words, "--input-size", "64", "--list-exits"])
