"""A tiny data set and networks small enough for a CPU test."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevpr.places.table import ImageTable

from .runs import gallery_config, query_config


def _draw(place: int, view: int) -> np.ndarray:
    """A place is a pattern of coloured blocks; a view shifts it and changes the light."""
    rng = np.random.default_rng(place)
    blocks = rng.integers(40, 216, (5, 5, 3)).astype(np.uint8)
    image = cv2.resize(blocks, (80, 80), interpolation=cv2.INTER_NEAREST)
    view_rng = np.random.default_rng((place, view))
    dy, dx = view_rng.integers(0, 8, 2)
    light = view_rng.uniform(0.7, 1.2)
    return np.clip(image[dy : dy + 64, dx : dx + 72] * light, 0, 255).astype(np.uint8)


def write_images(root: Path, places: range, views: range) -> None:
    root.mkdir(parents=True)
    paths, ids = [], []
    for place in places:
        for view in views:
            name = f"{place:03d}_{view}.png"
            assert cv2.imwrite(str(root / name), _draw(place, view))
            paths.append(name)
            ids.append(place)
    ImageTable.build(paths, place=ids).save(root / "images.csv")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny/train: 8 places x 4 views; tiny/val/{database,queries}: 6 other places."""
    root = tmp_path_factory.mktemp("tiny")
    write_images(root / "train", range(8), range(4))
    write_images(root / "val" / "database", range(20, 26), range(2))
    write_images(root / "val" / "queries", range(20, 26), range(2, 4))
    return root


@pytest.fixture(scope="session")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gallery/, query/, features/ (training images), database/ (validation gallery)."""
    import torch

    from edgevpr.train.embed.embed import embed
    from edgevpr.train.fit import fit

    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("trained")
    fit(gallery_config(tiny), out / "gallery")
    embed(out / "gallery", tiny / "train", out / "features", workers=0)
    embed(out / "gallery", tiny / "val" / "database", out / "database", workers=0)
    fit(query_config(tiny, out), out / "query")
    return out
