"""Camera backends of machines that lack GStreamer, elements of it, or OpenCV."""

import pytest

from edgevpr.profiles.camera_backends import camera_backends
from edgevpr.runtime.sources import gst


def machine(monkeypatch: pytest.MonkeyPatch, *elements: str, h264: bool, gi: str = "") -> None:
    monkeypatch.setattr(gst, "why_not", lambda: gi)
    monkeypatch.setattr(gst, "version", lambda: "1.20.3")
    monkeypatch.setattr(gst, "has", lambda element: element in elements)
    monkeypatch.setattr(gst, "decodes_h264", lambda: h264)


def test_backends_and_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only addresses that can be opened are listed; each lack names a command."""
    machine(monkeypatch, "appsink", "v4l2src", "rtspsrc", "nvarguscamerasrc", h264=True)
    gstreamer, opencv = camera_backends()
    assert gstreamer.version == "1.20.3"
    assert gstreamer.opens == ["v4l2://", "rtsp://", "csi://", "gst:"]
    assert gstreamer.lacks == []
    assert "v4l2://" in opencv.opens
    assert opencv.version

    machine(monkeypatch, "appsink", "v4l2src", "rtspsrc", h264=False)
    gstreamer, _ = camera_backends()
    assert gstreamer.opens == ["v4l2://", "rtsp://", "gst:"]
    assert "nvarguscamerasrc: comes with JetPack" in gstreamer.lacks[0]
    assert "gstreamer1.0-libav" in gstreamer.lacks[1]

    machine(monkeypatch, "appsink", h264=False)
    (lacks, jetson) = camera_backends()[0].lacks[::2]
    assert "v4l2src: run sudo apt install gstreamer1.0-plugins-good" in lacks
    assert "nvarguscamerasrc" in jetson

    machine(monkeypatch, h264=False, gi="lacks the Python package gi: run apt")
    gstreamer, _ = camera_backends()
    assert gstreamer.version is None
    assert gstreamer.lacks == ["lacks the Python package gi: run apt"]
