"""Grad-CAM, the map of places and nearest places, on cases whose answer is known."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from edgevpr.errors import DataError  # noqa: E402
from edgevpr.train.config import TrainConfig  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402
from edgevpr.train.evaluate.explain import explain_networks, grad_cam, nearest_places, place_map  # noqa: E402
from edgevpr.train.fit import fit  # noqa: E402
from edgevpr.train.networks.architecture import Architecture  # noqa: E402
from edgevpr.train.networks.network import Network  # noqa: E402


def test_grad_cam_lights_up_the_patch_of_the_place() -> None:
    """The map is that of the last features, rows and columns in order.

    With mean-pooled features as descriptor, the channel that the centroid asks for is lit up by one
    bright corner of the image only.
    """
    torch.manual_seed(0)
    network = Network(Architecture("resnet10t", 0, aggregator="gem"))
    images = torch.zeros(1, 3, 64, 96)
    images[:, :, :16, 80:] = 3 * torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        features = network.eval().backbone(images)
    lit = (features[0, :, :4, -4:].mean((1, 2)) - features[0].mean((1, 2))).argmax()
    centroid = torch.nn.functional.one_hot(lit, network.dim).float()[None]
    (heat,) = grad_cam(network, images, centroid)
    assert heat.shape == tuple(features.shape[2:])
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert row < heat.shape[0] // 2
    assert column > heat.shape[1] // 2
    assert heat.max() == pytest.approx(1)
    assert heat.min() >= 0


def test_nearest_places_by_cosine() -> None:
    """By cosine, not by inner product, and without the place itself."""
    weights = np.array([[1.0, 0.0], [10.0, 12.0], [0.9, 0.1], [0.0, 1.0]])
    assert nearest_places(weights, 2).tolist() == [[2, 1], [3, 2], [0, 1], [1, 2]]


def test_map_keeps_distances_of_a_plane() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(20, 2))
    basis = np.linalg.qr(rng.normal(size=(9, 9)))[0][:2]
    where = place_map(flat @ basis)

    def distances(x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x[:, None] - x[None], axis=2)

    np.testing.assert_allclose(distances(where), distances(flat), atol=1e-9)


def test_files(tiny: Path, tmp_path: Path) -> None:
    """The picture has a row for each image, a column for the image and for each network."""
    config = TrainConfig(
        images=tiny / "train", architecture=Architecture("resnet10t", 1, aggregator="gem"),
        image_size=64, epochs=1, batch_size=8, images_per_place=2, precision="fp32", workers=0,
    )  # fmt: skip
    fit(config, tmp_path / "gallery")
    embed(tmp_path / "gallery", tiny / "train", tmp_path / "features", workers=0)
    made = explain_networks(
        [tmp_path / "gallery"] * 2, tiny / "train", tmp_path / "features", tmp_path / "out", count=3
    )
    assert cv2.imread(str(made.gradcam)).shape == (600, 600, 3)
    assert len(list(csv.DictReader(made.places.open()))) == 8
    with pytest.raises(DataError, match="other images"):
        explain_networks(
            [tmp_path / "gallery"], tiny / "val" / "database", tmp_path / "features",
            tmp_path / "out",
        )  # fmt: skip
