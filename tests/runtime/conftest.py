"""The small world, built once: 40 places, a bundle, a gallery, a drive past each of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from edgevpr.compile.index.build_index import build_gallery
from edgevpr.runtime.sources import gst

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
from .gstreamer import RtspServer, link_gi


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


@pytest.fixture(scope="session")
def gi_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What to put on the path for PyGObject; tests that need it skip without it."""
    folder = tmp_path_factory.mktemp("gi")
    if reason := link_gi(folder):
        pytest.skip(f"{reason}: apt-get install python3-gi gir1.2-gst-plugins-base-1.0")
    return folder


@pytest.fixture(scope="module")
def gstreamer(gi_folder: Path) -> Iterator[Path]:
    """GStreamer can be used in this process."""
    sys.path.append(str(gi_folder))
    gst.why_not.cache_clear()
    if reason := gst.why_not():
        pytest.skip(f"GStreamer here {reason}")
    yield gi_folder
    sys.path.remove(str(gi_folder))
    gst.why_not.cache_clear()


@pytest.fixture
def rtsp(gstreamer: Path) -> Iterator[RtspServer]:
    try:
        import gi

        gi.require_version("GstRtspServer", "1.0")
    except ValueError:
        pytest.skip("no RTSP server here: apt-get install gir1.2-gst-rtsp-server-1.0")
    server = RtspServer(gstreamer)
    yield server
    server.kill()


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, as large as the parameter says (64k)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "none", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
