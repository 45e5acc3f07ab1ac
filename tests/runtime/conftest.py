"""The small world, built once: 40 places, a bundle, a gallery, a drive past each of them."""

import cv2
import pytest

from edgevpr.compile.index import build_gallery

from .build import (
    PLACES,
    VIEWS,
    FakeCamera,
    World,
    describe,
    place_image,
    write_bundle,
    write_features,
)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Built once; tests copy what they change."""
    root = tmp_path_factory.mktemp("world")
    bundle = write_bundle(root / "bundle")
    views = [place_image(p, v) for p in range(PLACES) for v in range(1, VIEWS + 1)]
    features = write_features(root / "features", describe(views, bundle))
    build_gallery(features, root / "gallery")
    drive = root / "drive"
    drive.mkdir()
    for place in range(PLACES):
        cv2.imwrite(str(drive / f"{place:03d}.png"), place_image(place))
    return World(root, bundle, features, root / "gallery", drive)


@pytest.fixture
def camera() -> FakeCamera:
    return FakeCamera()
