"""``edgevpr compile`` and ``edgevpr build`` as a user types them, on real artifacts."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from edgevpr import artifact
from edgevpr.cli import build, compile
from edgevpr.errors import (
    DataError,
    ResourceError,
    SpaceMismatchError,
    UnknownTargetError,
)
from edgevpr.preprocess import Preprocess
from edgevpr.projection import Projection
from edgevpr.records import BundleRecord, GalleryRecord, OperatingPoint

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

    from edgevpr.train.model import save_model
    from edgevpr.train.network import Architecture, Network

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
    """A gallery artifact as far as compile looks at it: record and projection."""
    rng = np.random.default_rng(0)
    matrix = np.linalg.qr(rng.standard_normal((128, 16)))[0].T.astype(np.float32)
    point = OperatingPoint("nprobe=1", 100.0, None, None, 0.1, 0.1)
    with artifact.create(path, "gallery", space=space) as folder:
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
            projection=artifact.sha256_file(folder / "projection.npy"),
            chosen=point,
            points=[point],
            exact_r1=None,
            exact_r5=None,
            device="",
        )
        artifact.write_json(folder / "gallery.json", record)
    return path


def test_compile_for_the_cpu_with_a_gallery(model: Path, photos: Path, tmp_path: Path) -> None:
    """--json is one document, the projection is the gallery's, and the options are saved."""
    space = artifact.open_artifact(model, "model").space
    gallery = write_gallery(tmp_path / "gallery", space)
    out = tmp_path / "bundle"
    text = edgevpr(
        "compile", model, "--target", "cpu", "--gallery", gallery, "--calibration", photos,
        "-o", out, "--json",
    )  # fmt: skip
    record = json.loads(text)
    bundle = artifact.open_artifact(out, "bundle")
    assert bundle.space == space
    assert record["output_dim"] == 16
    assert record["precision"] == "fp32"
    saved = bundle.read("bundle.json", BundleRecord)
    assert saved.projection == artifact.sha256_file(gallery / "projection.npy")
    assert saved.model_digest == artifact.open_artifact(model, "model").digest
    config = json.loads(bundle.file("config.json").read_text())
    assert config["gallery"] == str(gallery)
    assert config["images"] == 128
    assert json.loads(edgevpr("build", out, "--json"))["engines"] == []


def test_the_table_for_people(model: Path, photos: Path, tmp_path: Path) -> None:
    """stdout has the parity table and nothing that a library said."""
    text = edgevpr(
        "compile", model, "-t", "jetson-orin", "--calibration", photos, "-o", tmp_path / "b"
    )
    assert text.startswith("fp16 against fp32, 8 images (emulated)")
    assert "min cosine" in text
    assert len(text.splitlines()) < 8


def test_explained_precision_names_nodes_and_reasons(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    """Catches a list that is not the one the graph was typed with."""
    common = ("compile", model, "-t", "jetson-orin", "--calibration", photos, "-o", tmp_path / "b")
    text = edgevpr(*common, "--explain-precision")
    record = artifact.open_artifact(tmp_path / "b", "bundle").read("bundle.json", BundleRecord)
    kept = record.evidence["fp32_nodes"]
    assert kept
    assert f"{len(kept)} nodes kept in FP32" in text
    assert all(why for why in kept.values())


def test_mistakes_are_refused_before_any_work(model: Path, photos: Path, tmp_path: Path) -> None:
    """Unknown target, INT8 without images, another gallery's space, no place to write."""
    common = ("--calibration", photos, "-o", tmp_path / "bundle")
    with pytest.raises(UnknownTargetError, match="expected one of cpu"):
        edgevpr("compile", model, "-t", "jetson-orion", *common)
    with pytest.raises(DataError, match="pass --calibration"):
        edgevpr("compile", model, "-t", "cpu", "--precision", "int8", "-o", tmp_path / "bundle")
    other = write_gallery(tmp_path / "other", "boq-128-ffffffffffff")
    with pytest.raises(SpaceMismatchError, match="boq-128-ffffffffffff"):
        edgevpr("compile", model, "-t", "cpu", "--gallery", other, *common)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="choose another output with -o"):
        edgevpr("compile", model, "-t", "cpu", "-o", tmp_path / "file" / "bundle")
    assert not (tmp_path / "bundle").exists()
