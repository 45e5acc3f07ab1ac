"""A camera that goes and comes back, driven by the test: no hardware, no waiting."""

import threading
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from edgevpr.errors import DataError, TargetError, UsageError
from edgevpr.runtime import CameraOptions, ReconnectPolicy, open_source
from edgevpr.runtime.sources import gst
from edgevpr.runtime.sources.cameras import open_camera
from edgevpr.runtime.sources.live import CameraGone, Capture, LiveSource

from ..build import FakeCamera


class Quick(ReconnectPolicy):
    """The real rules with hardly a wait between attempts."""

    def delays(self) -> Iterator[float]:
        return (delay / 1000 for delay in super().delays())


class Cameras:
    """Opens one camera after another; None is an attempt that fails."""

    def __init__(self, *cameras: FakeCamera | None) -> None:
        self._next = iter(cameras)
        self.attempts = 0

    def __call__(self, cancelled: threading.Event) -> Capture:
        self.attempts += 1
        camera = next(self._next, None)
        if camera is None:
            raise CameraGone("does not answer")
        return camera


def source_of(
    camera: FakeCamera, reopen: Cameras, notify: Callable[[str], None], reconnect: ReconnectPolicy
) -> LiveSource:
    return LiveSource(camera, "cam", reopen=reopen, reconnect=reconnect, notify=notify)


def test_waits_double_up_to_eight_seconds_always_the_same() -> None:
    delays = ReconnectPolicy().delays()
    found = [next(delays) for _ in range(7)]
    assert found == [0.5, 1, 2, 4, 8, 8, 8]
    assert [next(iter(ReconnectPolicy().delays())) for _ in range(3)] == [0.5] * 3


def test_camera_comes_back_at_the_third_attempt() -> None:
    """Ids and drops go on, every attempt has a line, the old camera is released."""
    first, second = FakeCamera(), FakeCamera()
    reopen = Cameras(None, None, second)
    said: list[str] = []
    stop = threading.Event()
    with source_of(first, reopen, said.append, Quick()) as source:
        frames = source.frames(stop)
        first.give(1)
        assert next(frames).id == 0
        first.give(3)
        assert next(frames).id == 3
        first.unplug()
        giving = threading.Thread(target=second.give, args=(1,))
        giving.start()
        frame = next(frames)
        giving.join()
        assert frame.id == 4
        assert frame.image is not None
        assert frame.image[0, 0, 0] == 0  # the second camera's first
        assert source.drops == 2
        assert first.released.wait(5)
        assert "was gone once" in source.remark
        second.unplug()
        stop.set()
    assert reopen.attempts == 3
    assert len(said) == 4
    assert "cam gave no further frame" in said[0]
    assert said[1:3] == [f"cam: attempt {i} failed: does not answer" for i in (1, 2)]
    assert said[3].startswith("cam is back after")
    assert said[3].endswith("at attempt 3")


def test_gives_up_when_the_time_is_over(camera: FakeCamera) -> None:
    """The remark says how long it tried."""
    said: list[str] = []
    reopen = Cameras()
    with source_of(camera, reopen, said.append, Quick(reconnect_s=0.2)) as source:
        camera.unplug()
        assert list(source.frames(threading.Event())) == []
    assert source.gone
    assert "did not come back within 0.2 s" in source.remark
    assert f"({reopen.attempts} attempts)" in source.remark
    assert len(said) == 1 + reopen.attempts
    assert reopen.attempts > 1


def test_stall_does_not_use_up_the_time(camera: FakeCamera) -> None:
    """One attempt is made even where noticing the stall took longer than the time for attempts."""
    reopen = Cameras()
    with source_of(camera, reopen, print, Quick(reconnect_s=0.05, stall_s=0.2)) as source:
        frames = source.frames(threading.Event())
        camera.give(1)
        assert next(frames).id == 0
        assert list(frames) == []
        camera.unplug()
    assert reopen.attempts > 0


def test_no_attempt_when_none_is_wanted(camera: FakeCamera) -> None:
    reopen = Cameras()
    with source_of(camera, reopen, print, ReconnectPolicy(reconnect_s=0)) as source:
        camera.unplug()
        assert list(source.frames(threading.Event())) == []
    assert reopen.attempts == 0
    assert source.gone
    assert "gone" in source.remark


def test_stalled_driver_is_left_behind() -> None:
    """A read that never returns blocks nothing; a late frame of it is not given."""
    stalled, second = FakeCamera(), FakeCamera()
    said: list[str] = []
    stop = threading.Event()
    patience = Quick(stall_s=0.1)
    with source_of(stalled, Cameras(second), said.append, patience) as source:
        frames = source.frames(stop)
        stalled.give(1)
        assert next(frames).id == 0
        giving = threading.Thread(target=second.give, args=(1,))
        giving.start()
        assert next(frames).id == 1  # the first one still blocks in its read
        giving.join()
        assert not stalled.released.is_set()
        stalled.late()
        assert stalled.released.wait(5)
        second.unplug()
        stop.set()
        assert list(frames) == []
        assert source.drops == 0
    assert "cam gave no frame for 0.1 s" in said[0]


@pytest.mark.parametrize("opens_slowly", [False, True])
def test_stop_ends_the_wait_for_a_camera(camera: FakeCamera, opens_slowly: bool) -> None:
    """Between two attempts, and within one that hangs."""
    stop, opening, never = threading.Event(), threading.Event(), threading.Event()

    def hang(cancelled: threading.Event) -> Capture:
        opening.set()
        never.wait()
        raise CameraGone("was interrupted")

    class Hours(ReconnectPolicy):
        def delays(self) -> Iterator[float]:
            return iter([0.001 if opens_slowly else 3600.0])

    def say(sentence: str) -> None:
        if not opens_slowly:
            opening.set()

    source = LiveSource(camera, "cam", reopen=hang, reconnect=Hours(7200), notify=say)
    with source:
        camera.unplug()
        threading.Thread(target=lambda: opening.wait() and stop.set()).start()
        assert list(source.frames(stop)) == []
        never.set()
    assert source.remark == ""
    assert not source.gone


def test_wrong_pixels_do_not_pass_for_a_frame(camera: FakeCamera) -> None:
    camera.retrieve = lambda: (False, np.zeros(0, np.uint8))  # type: ignore[method-assign]
    with LiveSource(camera, "cam") as source:
        threading.Thread(target=camera.unplug).start()
        assert list(source.frames(threading.Event())) == []


def no_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gst, "why_not", lambda: "lacks the Python package gi: run apt")


@pytest.mark.parametrize("uri", ["csi://0", "gst:videotestsrc"])
def test_pipelines_without_gstreamer(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """The error says what is to be installed."""
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    no_gstreamer(monkeypatch)
    with pytest.raises(TargetError, match=r"lacks the Python package gi: run apt.*OpenCV"):
        open_source(uri)


def test_backend_asked_for_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    no_gstreamer(monkeypatch)
    with pytest.raises(TargetError, match="the one here lacks the Python package gi"):
        open_camera("0", CameraOptions(backend="gstreamer"))
    with pytest.raises(UsageError, match="found `pipeline_scale` with OpenCV"):
        open_camera("0", CameraOptions(pipeline_scale=(8, 8)))
    with pytest.raises(DataError, match="does not open"):
        open_camera("v4l2:///dev/video987?width=640&fps=30")
