"""A small network, exported once per session, with its graphs and bundles."""

import contextlib
import dataclasses
import io
import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from edgevpr.compile.graph.fuse import clean_up, fuse_projection
from edgevpr.compile.graph.signature import load_graph
from edgevpr.compile.pipeline import compile_model
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.compile.precision.choices import Exits, Precision
from edgevpr.compile.request import request_for
from edgevpr.compile.source import ModelSource
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.projection import Projection
from tests.compile.cut_network import EXITS, PIXELS, write_parts

SIDE, DIM, INDEX_DIM = 128, 256, 48
SPACE = "boq-256-0123456789ab"


def export_small_network(path: Path) -> None:
    """MobileViTv2-0.5's first three stages, linear attention as in LiteMLA, attention, L2 norm."""
    import timm
    import torch
    from torch import nn
    from torch.nn import functional

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = timm.create_model(
                "mobilevitv2_050", pretrained=False, features_only=True, out_indices=(2,)
            )
            self.narrow = nn.Conv2d(128, 64, 3, stride=2, padding=1)
            self.qkv = nn.Conv2d(64, 192, 1)
            self.encoder = nn.TransformerEncoderLayer(64, 2, 128, dropout=0.0, batch_first=True)
            self.queries = nn.Parameter(torch.randn(1, 8, 64))
            self.self_attention = nn.MultiheadAttention(64, 2, batch_first=True)
            self.cross_attention = nn.MultiheadAttention(64, 2, batch_first=True)
            self.norm = nn.LayerNorm(64)
            self.rows = nn.Linear(8, DIM // 64)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = images.permute(0, 3, 1, 2).float() / 127.5 - 1
            x = self.narrow(self.features(x)[0])
            q, k, v = self.qkv(x).flatten(2).chunk(3, dim=1)
            q, k = functional.relu(q), functional.relu(k)
            v = functional.pad(v, (0, 0, 0, 1), value=1.0)
            attended = (v @ k.transpose(1, 2)) @ q
            x = x.flatten(2) + attended[:, :-1] / (attended[:, -1:] + 1e-6)
            x = self.encoder(x.transpose(1, 2))
            queries = self.queries + self.self_attention(*[self.queries] * 3)[0]
            out = self.norm(self.cross_attention(queries, x, x)[0])
            return functional.normalize(self.rows(out.transpose(1, 2)).flatten(1), dim=-1)

    torch.manual_seed(0)
    example = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        program = torch.onnx.export(
            Small().eval(),
            (example,),
            dynamo=True,
            opset_version=20,
            input_names=["images"],
            output_names=["descriptor"],
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph as the exporter leaves it."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    logging.disable(logging.WARNING)
    try:
        export_small_network(path)
    finally:
        logging.disable(logging.NOTSET)
    return path


@pytest.fixture(scope="session")
def images() -> CalibrationImages:
    """24 images to calibrate with and 8 held out: coloured blobs."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (32, 9, 9, 3), dtype=np.uint8)
    fine = [cv2.resize(c, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for c in coarse]
    return CalibrationImages(np.stack(fine[:24]), np.stack(fine[24:]), True, "coloured blobs")


@pytest.fixture(scope="session")
def projection() -> Projection:
    rng = np.random.default_rng(1)
    basis, _ = np.linalg.qr(rng.standard_normal((DIM, INDEX_DIM)))
    mean = 0.5 * rng.standard_normal(DIM) / np.sqrt(DIM)
    return Projection(mean.astype(np.float32), np.ascontiguousarray(basis.T.astype(np.float32)))


@pytest.fixture(scope="session")
def source(exported: Path, projection: Projection) -> ModelSource:
    preprocess = Preprocess(SIDE, SIDE)
    return ModelSource(exported, preprocess, SPACE, "0" * 64, projection, "1" * 64)


@pytest.fixture(scope="session")
def clean(exported: Path, projection: Projection, images: CalibrationImages) -> onnx.ModelProto:
    """The graph that precision works on: projection fused, cleaned up."""
    return clean_up(fuse_projection(load_graph(exported), projection), images.held_out[:2])


@pytest.fixture(scope="session")
def compiled(
    source: ModelSource, images: CalibrationImages, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Precision], Path]:
    """Bundles by target and precision, each compiled once."""
    root, done = tmp_path_factory.mktemp("bundles"), dict[tuple[str, str], Path]()

    def bundle(target: str, precision: Precision) -> Path:
        key = (target, precision)
        if key not in done:
            done[key] = root / f"{target}-{precision}"
            compile_model(request_for(source, target, precision, images), done[key])
        return done[key]

    return bundle


@pytest.fixture(scope="session")
def cut_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network cut at two exits, as an export leaves it."""
    return write_parts(tmp_path_factory.mktemp("cut"))


@pytest.fixture(scope="session")
def cut_source(cut_folder: Path) -> ModelSource:
    preprocess = Preprocess(PIXELS, PIXELS)
    return ModelSource(
        cut_folder / "model.onnx", preprocess, SPACE, "2" * 64, exits=EXITS, parts=cut_folder
    )


@pytest.fixture(scope="session")
def cut_images() -> CalibrationImages:
    """24 images to calibrate with and 8 held out, of the size that the cut network takes."""
    rng = np.random.default_rng(2)
    coarse = rng.integers(0, 256, (32, 9, 9, 3), dtype=np.uint8)
    fine = [cv2.resize(c, (PIXELS, PIXELS), interpolation=cv2.INTER_CUBIC) for c in coarse]
    return CalibrationImages(np.stack(fine[:24]), np.stack(fine[24:]), True, "coloured blobs")


@pytest.fixture(scope="session")
def compiled_exits(
    cut_source: ModelSource,
    cut_images: CalibrationImages,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """Bundles with exits by target, precision and layout, each compiled once."""
    root, done = tmp_path_factory.mktemp("exit-bundles"), dict[str, Path]()

    def bundle(target: str, precision: Precision, exits: Exits = "together") -> Path:
        key = f"{target}-{precision}-{exits}"
        if key not in done:
            request = request_for(cut_source, target, precision, cut_images)
            compile_model(dataclasses.replace(request, exits=exits), root / key)
            done[key] = root / key
        return done[key]

    return bundle
