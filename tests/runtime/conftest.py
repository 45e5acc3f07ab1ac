"""The small world, built once: 40 places, a bundle, a gallery, a drive past each of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgevpr.runtime.sources import gst

from .build import FakeCamera, World, build_world
from .gstreamer import RtspServer, link_gi


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Built once; tests copy what they change."""
    return build_world(tmp_path_factory.mktemp("world"))


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
