"""Frames, the ``Source`` protocol, and sources of image files and videos.

Live cameras, where only the newest frame counts, are in ``edgevpr.runtime.sources.live``.
"""

import os
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgevpr.data.image_files import is_unread
from edgevpr.data.left_out import LeftOut, summary
from edgevpr.errors import DataError
from edgevpr.preprocess import decode_image
from edgevpr.printable import utf8
from edgevpr.runtime.sources.video_clock import VideoClock


@dataclass(frozen=True)
class Frame:
    """One camera image, or the reason why there is none."""

    #: counts from 0 within a run.
    id: int
    #: file it comes from, or the address of the camera without its passwords.
    source: str
    #: (H, W, 3) uint8 in BGR order, as OpenCV decodes; None when it could not be read.
    image: NDArray[np.uint8] | None
    #: ``time.monotonic()`` when its pixels were there: ages are measured from here, whatever the
    #: wall clock does.
    captured: float
    #: seconds into the video, or Unix time for a live camera; None for image files.
    time: float | None
    #: milliseconds that reading and decoding took.
    capture_ms: float
    error: str = ""

    def __post_init__(self) -> None:
        """Texts for JSON and tables: a name that is no UTF-8 gets escapes."""
        object.__setattr__(self, "source", utf8(self.source))
        object.__setattr__(self, "error", utf8(self.error))


class Source(Protocol):
    """A ``with`` block that gives frames until it ends or ``stop`` is set."""

    #: newest frame wins, older ones are dropped; else every frame is given, in order.
    live: bool
    #: frames dropped so far.
    drops: int
    #: one sentence about how it ended, when there is something to say.
    remark: str

    def __enter__(self) -> "Source": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def frames(self, stop: threading.Event) -> Generator[Frame, None, None]: ...


def files_of(source: Source) -> list[Path]:
    """Files and folders that a source reads; none for a camera."""
    single = getattr(source, "path", None)
    return [*getattr(source, "paths", ()), *([single] if isinstance(single, Path) else [])]


def frames_of(source: Source) -> int | None:
    """Frames that a source announces; None where it cannot know, as a camera."""
    total = getattr(source, "total", None)
    return total if isinstance(total, int) and total > 0 else None


class ImageFiles:
    """Image files in the order given. A file that cannot be read is a frame with an error.

    Args:
        left_out: what was found ``where`` they are and is not read; the remark names it.
    """

    live = False

    def __init__(
        self, paths: Sequence[Path], left_out: Sequence[LeftOut] = (), *, where: str = ""
    ) -> None:
        self.paths = list(paths)
        self.total = len(self.paths)
        self.drops = 0
        self.remark = f"{where}: {summary(left_out)}" if left_out else ""

    def __enter__(self) -> "ImageFiles":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def frames(self, stop: threading.Event) -> Generator[Frame, None, None]:
        for i, path in enumerate(self.paths):
            if stop.is_set():
                return
            started = time.monotonic()
            image, error = _read(path)
            now = time.monotonic()
            yield Frame(i, str(path), image, now, None, (now - started) * 1e3, error)


class VideoFile:
    """Every frame of a video file, in order, with times that go forward.

    Raises:
        DataError: OpenCV cannot open it (not a video, or cut off before its index).
    """

    live = False

    def __init__(self, path: Path) -> None:
        import cv2

        self.path = path
        self.drops = 0
        self.remark = ""
        # FFmpeg takes what stands before a colon for a protocol, unless a slash comes first.
        self._capture: Any = cv2.VideoCapture(os.path.abspath(path))
        if not self._capture.isOpened():
            raise DataError(
                f"found {path} ({path.stat().st_size} bytes), which OpenCV cannot open, expected a "
                "complete video (mp4, mkv, avi): copy it again or convert it with ffmpeg"
            )
        announced = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # Matroska does not say; OpenCV multiplies its duration by a guess of the rate.
        guessed = path.suffix.lower() in (".mkv", ".webm") or not 0 < announced < 1e9
        self.total = 0 if guessed else int(announced)
        self._clock = VideoClock(announced, self._capture.get(cv2.CAP_PROP_FPS))

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def frames(self, stop: threading.Event) -> Generator[Frame, None, None]:
        import cv2

        count = 0
        while not stop.is_set():
            started = time.monotonic()
            found, image = self._capture.read()
            now = time.monotonic()
            if not found:
                if missing := self._clock.missing():
                    self.remark = f"{self.path} {missing}"
                return
            at = self._clock.time(self._capture.get(cv2.CAP_PROP_POS_MSEC))
            yield Frame(count, str(self.path), image, now, at, (now - started) * 1e3)
            count += 1


def _read(path: Path) -> tuple[NDArray[np.uint8] | None, str]:
    """(image in BGR order, "") or (None, why not)."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        return None, f"found {path} unreadable ({error.strerror}), expected an image: check it"
    image = decode_image(data)
    if image is None and is_unread(path):
        return None, (
            f"found {path}, a picture of a type that is not read, expected a JPEG or PNG: "
            "convert it"
        )
    if image is None:
        return None, (
            f"found {path} ({data.size} bytes), which does not decode, expected a complete image: "
            "replace or remove it"
        )
    return image, ""
