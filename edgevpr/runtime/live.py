"""Live cameras: the newest frame wins.

A thread takes every frame off the driver as it comes, so that no queue builds up behind a slow
engine, and keeps the last one. What the reader did not fetch in time is counted as dropped.
"""

import threading
import time
from collections.abc import Generator
from typing import Any, Protocol

from edgevpr.errors import DataError, TargetError
from edgevpr.runtime.frames import Frame

#: How long a read waits before it looks whether the run was stopped.
_POLL_S = 0.1
#: How long closing waits for a driver that is blocked in a read.
_CLOSE_S = 2.0

#: ``csi://N`` on a Jetson: the camera's ISP, BGR for OpenCV, nothing queued.
_CSI = (
    "nvarguscamerasrc sensor-id={id} ! video/x-raw(memory:NVMM) ! nvvidconv ! "
    "video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! "
    "appsink drop=true max-buffers=1 sync=false"
)


class Capture(Protocol):
    """The part of ``cv2.VideoCapture`` that is used."""

    def grab(self) -> bool: ...

    def retrieve(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


class LiveSource:
    """The newest frame of a camera whenever the reader asks; ends when the camera does.

    Args:
        capture: an opened camera; closed with the block.
        name: its address, given with every frame.
    """

    live = True

    def __init__(self, capture: Capture, name: str) -> None:
        self.name = name
        self.drops = 0
        self.remark = ""
        self._capture = capture
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._ended = False
        self._closing = False
        # A driver may never return from a read: as a daemon it cannot keep the process alive.
        self._thread = threading.Thread(target=self._pump, name=f"camera {name}", daemon=True)

    def __enter__(self) -> "LiveSource":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._thread.join(_CLOSE_S)

    def frames(self, stop: threading.Event) -> Generator[Frame, None, None]:
        while not stop.is_set():
            with self._changed:
                if self._newest is None and not self._ended:
                    self._changed.wait(_POLL_S)
                frame, self._newest = self._newest, None
                ended = self._ended
            if frame is not None:
                yield frame
            elif ended:
                self.remark = f"{self.name} gave no further frame; the camera is gone or ended"
                return

    def _pump(self) -> None:
        count = 0
        try:
            while not self._closing and self._capture.grab():
                captured, wall = time.monotonic(), time.time()
                found, image = self._capture.retrieve()
                if not found:
                    break
                took = (time.monotonic() - captured) * 1e3
                with self._changed:
                    self.drops += self._newest is not None
                    self._newest = Frame(count, self.name, image, captured, wall, took)
                    self._changed.notify()
                count += 1
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify()
            self._capture.release()


def open_camera(uri: str) -> LiveSource:
    """A camera by ``/dev/video`` number, ``v4l2:///dev/videoN``, ``rtsp://...`` or ``csi://N``.

    Raises:
        DataError: there is no such camera, or it does not answer.
        TargetError: ``csi://`` where OpenCV was built without GStreamer.
    """
    import cv2

    capture: Any
    if uri.startswith("csi://"):
        capture = _open_csi(uri)
    elif uri.startswith("rtsp://"):
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]
        capture = cv2.VideoCapture(uri, cv2.CAP_FFMPEG, timeouts)
    else:
        device = f"/dev/video{uri}" if uri.isdigit() else uri.removeprefix("v4l2://")
        capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        # One buffer where the driver allows it: a queue is age.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if not capture.isOpened():
        raise DataError(
            f"the camera {uri} does not open; expected a device of this user's or a stream that "
            "answers: check the cable or address, and that no other program holds it"
        )
    return LiveSource(capture, uri)


def _open_csi(uri: str) -> Any:
    import cv2

    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise TargetError(
            f"{uri} needs OpenCV with GStreamer, and OpenCV {cv2.__version__} here was built "
            "without it: use the system's python3-opencv (a venv with --system-site-packages), or "
            "a v4l2:// address"
        )
    sensor = uri.removeprefix("csi://")
    if not sensor.isdigit():
        raise DataError(f"found the address {uri}, expected csi:// and a number: pass csi://0")
    return cv2.VideoCapture(_CSI.format(id=sensor), cv2.CAP_GSTREAMER)
