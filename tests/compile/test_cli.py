"""``edgevpr compile`` and ``edgevpr build`` on real artifacts."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.artifacts.records import BundleRecord, GalleryRecord, OperatingPoint
from edgevpr.cli import build, compile
from edgevpr.errors import (
    DataError,
    NumericsError,
    ResourceError,
    SpaceMismatchError,
    UnknownTargetError,
    UsageError,
)
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.projection import Projection

app = typer.Typer()
app.command("compile")(compile.command)
app.command("build")(build.command)


def edgevpr(*arguments: object) -> str:
    """Runs a verb and returns its stdout; its error is raised."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model artifact with a small untrained network."""
    import torch

    from edgevpr.train.networks.architecture import Architecture
    from edgevpr.train.networks.model import save_model
    from edgevpr.train.networks.network import Network

    torch.manual_seed(0)
    arguments = {"proj_channels": 64, "num_queries": 4, "num_layers": 1, "row_dim": 2}
    network = Network(
        Architecture("mobilenetv3_small_050", out_index=3, aggregator_args=arguments)
    ).eval()
    path = tmp_path_factory.mktemp("model") / "model"
    save_model(path, network, role="gallery", preprocess=Preprocess(64, 64), training={}, config={})
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(20):
        coarse = np.random.default_rng(i).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(folder / f"{i}.png"), image)
    return folder


def write_gallery(path: Path, space: str) -> Path:
    """A gallery artifact with the files that compile reads: record and projection."""
    rng = np.random.default_rng(0)
    matrix = np.linalg.qr(rng.standard_normal((128, 16)))[0].T.astype(np.float32)
    point = OperatingPoint("nprobe=1", 100.0, None, None, 0.1, 0.1)
    with write_artifact(path, "gallery", space=space) as folder:
        Projection(np.zeros(128, np.float32), np.ascontiguousarray(matrix)).save(
            folder / "projection.npy"
        )
        record = GalleryRecord(
            factory="IVF1,Flat",
            faiss_version="1",
            dim=128,
            index_dim=16,
            count=1,
            bytes_per_image=1.0,
            projection=sha256_file(folder / "projection.npy"),
            chosen=point,
            points=[point],
            exact_r1=None,
            exact_r5=None,
            device="",
        )
        write_json(folder / "gallery.json", record)
    return path


def test_compile_for_the_cpu_with_a_gallery(model: Path, photos: Path, tmp_path: Path) -> None:
    """--json is one document, the projection is the gallery's, and the options are saved."""
    space = open_artifact(model, "model").space
    gallery = write_gallery(tmp_path / "gallery", space)
    out = tmp_path / "bundle"
    text = edgevpr(
        "compile", model, "--target", "cpu", "--gallery", gallery, "--calibration", photos,
        "-o", out, "--json",
    )  # fmt: skip
    record = json.loads(text)
    bundle = open_artifact(out, "bundle")
    assert bundle.space == space
    assert record["output_dim"] == 16
    assert record["precision"] == "fp32"
    saved = bundle.read("bundle.json", BundleRecord)
    assert saved.projection == sha256_file(gallery / "projection.npy")
    assert saved.model_digest == open_artifact(model, "model").digest
    config = json.loads(bundle.file("config.json").read_text())
    assert config["gallery"] == str(gallery)
    assert config["images"] == 128
    assert json.loads(edgevpr("build", out, "--json"))["engines"] == []


def test_the_table_for_people(model: Path, photos: Path, tmp_path: Path) -> None:
    """stdout has the parity table and no output of a library."""
    text = edgevpr(
        "compile", model, "-t", "jetson-orin", "--calibration", photos, "-o", tmp_path / "b"
    )
    assert text.startswith("fp16 against fp32, 8 images (emulated)")
    assert "min cosine" in text
    assert len(text.splitlines()) < 8


def test_explained_precision_names_nodes_and_reasons(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    """The list printed is the one in the bundle's evidence."""
    common = ("compile", model, "-t", "jetson-orin", "--calibration", photos, "-o", tmp_path / "b")
    text = edgevpr(*common, "--explain-precision")
    record = open_artifact(tmp_path / "b", "bundle").read("bundle.json", BundleRecord)
    kept = record.evidence["fp32_nodes"]
    assert kept
    assert f"{len(kept)} nodes kept in FP32" in text
    assert all(why for why in kept.values())


def test_mistakes_are_refused_before_any_work(model: Path, photos: Path, tmp_path: Path) -> None:
    """Unknown target, INT8 without images, another gallery's space, no place to write."""
    common = ("--calibration", photos, "-o", tmp_path / "bundle")
    with pytest.raises(UnknownTargetError, match="expected one of cpu"):
        edgevpr("compile", model, "-t", "jetson-orion", *common)
    with pytest.raises(DataError, match="pass `calibration`"):
        edgevpr("compile", model, "-t", "cpu", "--precision", "int8", "-o", tmp_path / "bundle")
    other = write_gallery(tmp_path / "other", "boq-128-ffffffffffff")
    with pytest.raises(SpaceMismatchError, match="boq-128-ffffffffffff"):
        edgevpr("compile", model, "-t", "cpu", "--gallery", other, *common)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="choose another `output`"):
        edgevpr("compile", model, "-t", "cpu", "-o", tmp_path / "file" / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_the_second_compilation_finds_the_first(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing slow is done twice, the bundle is the same; --no-cache and other options do it."""
    monkeypatch.setenv("EDGEVPR_CACHE", str(tmp_path / "cache"))
    common = ("compile", model, "-t", "cpu", "--precision", "int8", "--calibration", photos)

    def cached(*more: object) -> tuple[list[str], str]:
        record = json.loads(edgevpr(*common, "-o", tmp_path / "bundle", "--json", *more))
        return record["evidence"]["cached"], record["graph_sha256"]

    first, again = cached(), cached()
    assert first[0] == []
    assert again[0] == ["export", *["described", "clean", "typed"], *["described"] * 3]
    assert again[1] == first[1]
    assert cached("--no-cache") == first
    other = cached("--calibrator", "max")
    assert "typed" not in other[0]
    assert "export" in other[0]
    assert other[1] != first[1]


def test_a_model_with_nan_is_named(model: Path, photos: Path, tmp_path: Path) -> None:
    """Before the minutes of an export, with the weight's name."""
    from safetensors.numpy import load_file, save_file

    opened = open_artifact(model, "model")
    weights = load_file(str(opened.file("weights.safetensors")))
    name = next(n for n in weights if n.endswith("proj_c.weight"))
    weights[name].flat[:3] = np.nan
    with write_artifact(tmp_path / "broken", "model", space=opened.space) as folder:
        save_file(weights, str(folder / "weights.safetensors"))
        (folder / "model.json").write_bytes(opened.file("model.json").read_bytes())
    with pytest.raises(NumericsError, match=rf"3 NaN .*{re.escape(name)}' of "):
        edgevpr("compile", tmp_path / "broken", "-t", "cpu", "-o", tmp_path / "b")


@pytest.fixture(scope="module")
def mapped(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of 60 places, two images each, 100 m apart, by way of embed's and index's files."""
    from edgevpr.artifacts.features import Features
    from edgevpr.compile.graph.reference import describe
    from edgevpr.compile.index.build_index import build_gallery
    from edgevpr.compile.index.index_options import IndexOptions
    from edgevpr.places.table import ImageTable
    from edgevpr.train.networks.export import export_onnx

    root = tmp_path_factory.mktemp("mapped")
    folder, names = root / "database", []
    folder.mkdir()
    rng = np.random.default_rng(0)
    for place in range(60):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        for turn in range(2):
            image = cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_CUBIC)
            noisy = np.clip(image + rng.normal(0, 6 * turn, image.shape), 0, 255)
            names.append(f"{place:02d}-{turn}.png")
            assert cv2.imwrite(str(folder / names[-1]), noisy.astype(np.uint8))
    table = ImageTable.build(
        names, easting=500_000 + 100.0 * np.repeat(np.arange(60), 2), northing=np.full(120, 5e6),
        zone=np.full(120, 32), letter=["U"] * 120,
    )  # fmt: skip
    table.save(folder / "images.csv")
    export_onnx(model, root / "model.onnx")
    import onnx

    images = np.stack([Preprocess(64, 64).resize(cv2.imread(str(folder / n))[..., ::-1])
                       for n in names])  # fmt: skip
    found = describe(onnx.load(str(root / "model.onnx")), np.ascontiguousarray(images))
    opened = open_artifact(model, "model")
    Features.write(
        root / "features", found, table, space=opened.space, model_digest=opened.digest,
        preprocess=Preprocess(64, 64), source="", config={"images": str(folder)},
    )  # fmt: skip
    build_gallery(root / "features", root / "gallery", options=IndexOptions(dim=32))
    return root / "gallery"


def test_auto_through_the_real_gallery(model: Path, mapped: Path, tmp_path: Path) -> None:
    """The gallery's own images calibrate and are searched for; the decision is in the bundle."""
    out = tmp_path / "bundle"
    text = edgevpr(
        "compile", model, "-t", "cpu", "--precision", "auto", "--gallery", mapped, "-o", out,
        "--max-recall-drop", 2, "--count", 16, "--max-minutes", 0.1, "--json",
    )  # fmt: skip
    record = json.loads(text)
    assert record["precision"] in ("fp32", "int8")
    decision = record["evidence"]["auto"]
    assert decision["tuning_images"] == 120
    assert "120 are in the gallery, each left out of its own search" in decision["tuning"]
    assert decision["provenance"] == "measured"
    (chosen,) = [c for c in decision["candidates"] if c["verdict"] == "chosen"]
    assert chosen["drop"] <= 2
    assert bool(chosen["int8"]) == (record["precision"] == "int8")
    config = open_artifact(out, "bundle").file("config.json").read_text()
    assert json.loads(config)["precision"] == "auto"


def test_auto_says_what_it_needs(model: Path, photos: Path, tmp_path: Path) -> None:
    """A gallery, and images with places: one sentence each, before any work."""
    common = ("compile", model, "-t", "cpu", "--precision", "auto", "-o", tmp_path / "b")
    with pytest.raises(UsageError, match="without `gallery`"):
        edgevpr(*common, "--calibration", photos)
    gallery = write_gallery(tmp_path / "gallery", open_artifact(model, "model").space)
    with pytest.raises(DataError, match="pass `calibration`"):
        edgevpr(*common, "--gallery", gallery)
