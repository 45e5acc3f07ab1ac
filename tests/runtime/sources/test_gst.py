"""Cameras through a real GStreamer, and a real RTSP server that goes away and comes back."""

import itertools
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import IO, get_args

import numpy as np
import pytest

from edgevpr.errors import DataError, TargetError
from edgevpr.runtime import CameraOptions, Frame, ReconnectPolicy, open_source
from edgevpr.runtime.sources import gst
from edgevpr.runtime.sources.cameras import Backend
from edgevpr.runtime.sources.live import LiveSource

from ..build import World
from ..gstreamer import RtspServer, environment
from ..test_run_cli import command

SMALL = "video/x-raw,width=322,height=242"


def pull(uri: str, count: int, options: CameraOptions | None = None) -> list[Frame]:
    with open_source(uri, options) as source:
        return list(itertools.islice(source.frames(threading.Event()), count))


def test_pipeline_gives_bgr_frames(gstreamer: Path) -> None:
    """Padding of rows (966 bytes in 968) is cut off; frames are copies."""
    frames = pull(f"gst:videotestsrc is-live=true pattern=red ! {SMALL}", 3)
    for frame in frames:
        assert frame.image is not None
        assert frame.image.shape == (242, 322, 3)
        assert frame.image.flags.writeable
        assert frame.image[..., :2].max() < 10
        assert frame.image[..., 2].min() > 245
    ids = [frame.id for frame in frames]
    assert ids == sorted(set(ids))


def test_pipeline_with_its_own_appsink(gstreamer: Path) -> None:
    """No second appsink is added."""
    own = f"videotestsrc is-live=true ! {SMALL},format=BGR ! appsink max-buffers=1 drop=true"
    assert len(pull(f"gst:{own}", 2)) == 2
    with pytest.raises(TargetError, match="NV12 at the pipeline's appsink, expected BGR"):
        pull(f"gst:videotestsrc ! {SMALL},format=NV12 ! appsink", 1)
    with pytest.raises(DataError, match="found 2 appsinks"):
        pull(f"gst:{own} videotestsrc ! appsink name=other", 1)


def test_recording_ends_and_is_not_opened_again(gstreamer: Path) -> None:
    """Frames that the appsink dropped are counted."""
    said: list[str] = []
    options = CameraOptions(notify=said.append)
    with open_source(f"gst:videotestsrc num-buffers=5 ! {SMALL}", options) as source:
        frames = list(source.frames(threading.Event()))
    assert source.drops == 5 - len(frames)
    assert "came to its end" in source.remark
    assert isinstance(source, LiveSource)
    assert not source.gone
    assert said == []


def test_pipeline_scales_when_asked(gstreamer: Path) -> None:
    """To (height, width), without borders."""
    wide = "gst:videotestsrc is-live=true pattern=white ! video/x-raw,width=640,height=200"
    (frame,) = pull(wide, 1, CameraOptions(pipeline_scale=(96, 64)))
    assert frame.image is not None
    assert frame.image.shape == (96, 64, 3)
    assert frame.image.min() > 245


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("gst:nosuchelement", "nosuchelement"),
        ("gst:videotestsrc num-buffers=0", "ended before its first frame"),
        ("gst:filesrc location=/nonexistent ! decodebin", "stopped"),
        ("v4l2:///dev/video987", "stopped"),
        ("v4l2:///dev/video987?width=640&height=480&fps=30", "stopped"),
        ("rtsp://user:secret@127.0.0.1:1/x", r"user:\*\*\*@127"),
        ("v4l2:///dev/video0?widht=640", "widht=640"),
    ],
)
def test_cameras_that_do_not_open(gstreamer: Path, uri: str, says: str) -> None:
    """One sentence with the reason, without the password, in time."""
    with pytest.raises(DataError, match=says) as caught:
        open_source(uri)
    assert "secret" not in str(caught.value)


def test_pipelines_of_a_jetson(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames leave video memory, no queue is at the end, and the mode is asked of the sensor. Only
    a Jetson has the elements: here the descriptions are read."""
    monkeypatch.setattr(gst, "why_not", lambda: "")
    monkeypatch.setattr(gst, "has", lambda element: True)
    opened: list[gst.Pipeline] = []

    class Capture:
        def __init__(self, pipeline: gst.Pipeline, cancelled: threading.Event) -> None:
            opened.append(pipeline)

    monkeypatch.setattr(gst, "GstCapture", Capture)
    open_source("csi://1?width=1920&height=1080&fps=30", CameraOptions(pipeline_scale=(640, 320)))
    assert opened[-1].description == (
        "nvarguscamerasrc sensor-id=1 "
        "! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1 "
        "! nvvidconv interpolation-method=1 ! video/x-raw,format=BGRx,width=320,height=640 "
        "! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
    )
    open_source("2")
    assert opened[-1].properties == {"device": "/dev/video2"}
    assert "decodebin ! nvvidconv ! video/x-raw,format=BGRx ! " in opened[-1].description
    for text, through in [
        ("videotestsrc", "videotestsrc ! videoconvert ! "),
        ("udpsrc ! nvv4l2decoder", "nvv4l2decoder ! nvvidconv ! "),
        ("x ! video/x-raw(memory:NVMM)", "(memory:NVMM) ! nvvidconv ! "),
    ]:
        open_source(f"gst:{text}")
        assert through in opened[-1].description


def test_csi_away_from_a_jetson(gstreamer: Path) -> None:
    """The error names the missing element."""
    if gst.has("nvarguscamerasrc"):
        pytest.skip("this is a Jetson")
    with pytest.raises(TargetError, match="nvarguscamerasrc"):
        open_source("csi://0", CameraOptions(backend="gstreamer"))


def test_memory_does_not_grow(gstreamer: Path) -> None:
    """Over 400 frames of 1.2 MB."""
    page = os.sysconf("SC_PAGE_SIZE")

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page / 1e6

    pipeline = "gst:videotestsrc pattern=ball ! video/x-raw,width=640,height=640"
    with open_source(pipeline) as source:
        frames = source.frames(threading.Event())
        while next(frames).id < 100:
            pass
        before = resident()
        while next(frames).id < 500:
            pass
        assert resident() - before < 100


def hears(said: list[str], word: str, source: LiveSource) -> None:
    """Read on until a sentence with ``word`` was said."""
    for _ in source.frames(threading.Event()):
        if any(word in sentence for sentence in said):
            return
    pytest.fail(f"the source ended: {source.remark}; it said {said}")


@pytest.mark.parametrize("backend", [b for b in get_args(Backend) if b != "auto"])
def test_rtsp_server_restarts(rtsp: RtspServer, backend: Backend) -> None:
    """The run goes on, and frame ids with it."""
    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        if "attempt 1 failed" in sentence:
            rtsp.start()

    source = open_source(
        rtsp.uri, CameraOptions(backend, ReconnectPolicy(reconnect_s=60), notify=say)
    )
    assert isinstance(source, LiveSource)
    with source:
        frames = source.frames(threading.Event())
        before = [next(frames) for _ in range(5)]
        assert before[0].image is not None
        assert before[0].image.shape == (240, 320, 3)
        rtsp.kill()
        hears(said, "is back", source)
        after = list(itertools.islice(source.frames(threading.Event()), 5))
    assert after[0].id > before[-1].id
    assert after[0].image is not None
    assert np.abs(after[0].image.astype(int) - before[0].image).mean() < 20  # the same picture
    assert "trying to open it again for up to 60 s" in said[0]
    assert said[1].startswith(f"{rtsp.uri}: attempt 1 failed")
    assert "is back" in said[-1]
    assert "was gone once" in source.remark


def test_frozen_server_is_noticed(rtsp: RtspServer) -> None:
    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        rtsp.thaw()

    options = CameraOptions("gstreamer", ReconnectPolicy(60, stall_s=0.5), notify=say)
    source = open_source(rtsp.uri, options)
    assert isinstance(source, LiveSource)
    with source:
        next(source.frames(threading.Event()))
        rtsp.freeze()
        hears(said, "is back", source)
    assert "gave no frame for 0.5 s" in said[0]


def test_run_over_a_server_that_restarts(world: World, rtsp: RtspServer) -> None:
    """The whole command goes on, and Ctrl-C ends it while it waits for the camera."""
    args = [*command(world, rtsp.uri, "--backend", "gstreamer"), "--json"]
    process = subprocess.Popen(
        args,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(rtsp.gi),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    # Answers are read as they come: a full pipe would stop the run.
    answers: list[str] = []
    reader = threading.Thread(target=answers.extend, args=(process.stdout,))
    try:
        answers.append(process.stdout.readline())
        reader.start()
        rtsp.kill()
        assert "trying to open it again" in until(process.stderr, "trying")
        rtsp.start()
        until(process.stderr, "is back")
        rtsp.kill()
        until(process.stderr, "trying")
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(30) == 0
        reader.join(30)
    finally:
        process.kill()
    summary = json.loads(rest[rest.index("{") :])
    assert "was gone once" in summary["remarks"][0]
    assert summary["frames"] == len(answers)
    ids = [json.loads(line)["frame"] for line in answers]
    assert ids == sorted(set(ids))
    assert "Traceback" not in rest


def test_run_ends_with_a_camera_that_stays_away(world: World, gstreamer: Path) -> None:
    """The exit code differs from that of a finished run; the answers are kept."""
    broken = "gst:videotestsrc is-live=true ! identity error-after=12"
    done = subprocess.run(
        command(world, broken, "--reconnect", "0"),
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(gstreamer),
    )
    assert done.returncode == 3, done.stderr
    assert len(done.stdout.splitlines()) > 0
    assert "stopped" in done.stderr
    assert "Traceback" not in done.stderr


def until(stream: IO[str], word: str) -> str:
    """The first line with ``word``."""
    for line in stream:
        if word in line:
            return line
    pytest.fail(f"the run ended without saying {word!r}")
