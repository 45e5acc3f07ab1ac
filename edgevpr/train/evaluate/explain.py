"""Grad-CAM of networks, a map of the places, and the places nearest to each.

Grad-CAM (Selvaraju et al., ICCV 2017) with the memory bank as a linear classifier, as in Fig. 3 of
Kim, Cho and Yoon; a map of the places; and each place's nearest ones by cosine of their weights.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgevpr.artifacts.features import Features, check_full_path
from edgevpr.artifacts.space import check_same_space
from edgevpr.data import read_images
from edgevpr.errors import DataError, UsageError
from edgevpr.files import write_atomic
from edgevpr.guard import keeps_inputs
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess, read_image
from edgevpr.printable import shell_word
from edgevpr.train.losses.bank import Bank, build_bank
from edgevpr.train.networks.model import load_model
from edgevpr.train.networks.network import Network

Layout = Literal["pca", "tsne"]
#: Maps of the places by name.
LAYOUTS: dict[str, Layout] = {"pca": "pca", "tsne": "tsne"}
_WIDTH = 200


def grad_cam(
    network: Network, images: torch.Tensor, centroids: torch.Tensor
) -> NDArray[np.float32]:
    """(B, 3, H, W) images and (B, D) centroids of their places -> (B, h, w) maps in [0, 1].

    The class score is the descriptor's inner product with the centroid; its gradient, averaged over
    the feature map, weighs the map's channels; positive values are kept.
    """
    network.eval()
    with torch.enable_grad():
        features = network.backbone(network.standardize(images))
        token = None
        if isinstance(features, tuple):
            features, token = features
        features = features.detach().requires_grad_(True)
        inputs = features if token is None else (features, token.detach())
        score = (network.aggregator(inputs) * centroids).sum()
        (gradient,) = torch.autograd.grad(score, features)
    weights = gradient.mean((2, 3), keepdim=True)
    maps = nn.functional.relu((weights * features).sum(1)).detach()
    highest = maps.amax((1, 2), keepdim=True)
    return (maps / highest.clamp_min(1e-12)).numpy()


def nearest_places(weights: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """(K, D) class weights -> (K, count) other classes, by falling cosine."""
    unit = weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    return np.argsort(-cosine, axis=1, kind="stable")[:, :count]


def place_map(
    centroids: NDArray[np.floating], layout: Layout = "pca", seed: int = 0
) -> NDArray[np.float64]:
    """(M, D) centroids -> (M, 2) coordinates of a map of the places.

    ``pca``: the two directions of most variance. ``tsne``: scikit-learn's, on 50 of them.
    """
    centred = np.asarray(centroids, np.float64) - centroids.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    scores = left * values
    if layout == "pca" or len(centroids) < 4:
        return np.pad(scores, ((0, 0), (0, max(0, 2 - scores.shape[1]))))[:, :2]
    from edgevpr.optional import require

    manifold = require("sklearn.manifold", extra="train")
    tsne = manifold.TSNE(perplexity=min(30.0, (len(centroids) - 1) / 3), random_state=seed)
    return np.asarray(tsne.fit_transform(scores[:, :50]), np.float64)


@dataclass(frozen=True)
class Explained:
    """Files that ``explain_networks`` wrote."""

    gradcam: Path
    places: Path
    nearest: Path


@keeps_inputs("out", filled=("out",))
def explain_networks(
    models: list[Path],
    images: Path,
    features: Path,
    out: Path,
    *,
    count: int = 6,
    layout: Layout = "pca",
) -> Explained:
    """Write gradcam.jpg (a row an image, a column a network), places.csv and nearest.csv.

    Args:
        models: networks of one descriptor space, the gallery network and query networks.
        images: folder of the images that the features describe.
        features: gallery-network features of those images, for the memory bank.
        out: folder to write to.
        count: images in the picture, of places spread over the data set.

    Raises:
        SpaceMismatchError: a model or the features belong to another gallery network.
        DataError: the features are of other images.
    """
    if not models:
        raise UsageError("found no model, expected one or more: pass a model artifact")
    stored = Features(features)
    check_full_path(stored.record, features)
    table = read_images(images)
    if table.paths != stored.table.paths:
        raise DataError(
            f"found features of other images at {features}, expected those of {images}: run "
            f"edgevpr embed GALLERY_MODEL {shell_word(images)} -o {shell_word(features)}"
        )
    bank = build_bank(stored.descriptors, table.place)
    opened = [(path, *load_model(path)) for path in models]
    for path, _, _, about in opened:
        check_same_space(about.space, str(path), stored.space, str(features))
    rows = _spread(table, bank, count)
    lines = []
    for row in rows:
        picture = read_image(images / table.paths[row])
        centroid = torch.from_numpy(bank.centroids[bank.rows(table.place[[row]])])
        tiles = [_shown(picture)]
        for _, network, record, _ in opened:
            tiles.append(_overlaid(picture, network, record.preprocess, centroid))
        lines.append(np.hstack(tiles))
    done, data = cv2.imencode(".jpg", cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR))
    assert done
    write_atomic(out / "gradcam.jpg", data.tobytes())
    write_atomic(out / "places.csv", _places_csv(table, bank, layout).encode())
    write_atomic(out / "nearest.csv", _nearest_csv(bank).encode())
    return Explained(out / "gradcam.jpg", out / "places.csv", out / "nearest.csv")


def _spread(table: ImageTable, bank: Bank, count: int) -> list[int]:
    """The first image of places spread evenly over the bank."""
    picked = np.unique(np.linspace(0, len(bank.places) - 1, count).round().astype(int))
    return [int(np.flatnonzero(table.place == bank.places[i])[0]) for i in picked]


def _shown(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (_WIDTH, _WIDTH), interpolation=cv2.INTER_AREA), np.uint8)


def _overlaid(
    picture: NDArray[np.uint8], network: Network, preprocess: Preprocess, centroid: torch.Tensor
) -> NDArray[np.uint8]:
    pixels = preprocess.normalize(preprocess.resize(picture)[None])
    heat = grad_cam(network, torch.from_numpy(pixels), centroid)[0]
    smooth = cv2.resize(heat, (_WIDTH, _WIDTH), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap((smooth * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    mixed = cv2.addWeighted(_shown(picture), 0.5, cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), 0.5, 0)
    return np.asarray(mixed, np.uint8)


def _places_csv(table: ImageTable, bank: Bank, layout: Layout) -> str:
    where = place_map(bank.centroids, layout)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["place", "images", f"{layout}_1", f"{layout}_2", "spread", "first_image"])
    spread = np.sqrt(bank.variances.sum(1))
    for i, place in enumerate(bank.places):
        first = table.paths[int(np.flatnonzero(table.place == place)[0])]
        writer.writerow(
            [place, bank.counts[i], f"{where[i, 0]:.5f}", f"{where[i, 1]:.5f}",
             f"{spread[i]:.5f}", first]
        )  # fmt: skip
    return text.getvalue()


def _nearest_csv(bank: Bank, count: int = 5) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    near = nearest_places(bank.centroids, min(count, len(bank.places) - 1))
    writer.writerow(["place", *(f"nearest_{i + 1}" for i in range(near.shape[1]))])
    for place, row in zip(bank.places, near, strict=True):
        writer.writerow([place, *bank.places[row]])
    return text.getvalue()
