"""An annotated video of a run, at the speed at which its frames were taken."""

import errno
import os
import shutil
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from edgevpr.errors import ResourceError, TargetError, UsageError
from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.sinks.annotate import Annotator, Image
from edgevpr.runtime.sinks.base import PartFile
from edgevpr.runtime.sinks.position import FixRule
from edgevpr.runtime.sources.frames import Frame

#: suffix -> codec that every build of OpenCV brings.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
#: Frames a second of images, which have no times.
IMAGES_FPS = 5.0
#: A video's rate comes from the median distance of so many frames, within these bounds.
_MEASURED = 8
_SLOWEST, _FASTEST = 10.0, 60.0
#: Seconds without a frame that are shown as they were; longer pauses are cut.
LONGEST_GAP_S = 5.0
#: OpenCV does not report a full disk. Free space is checked every ``_LOOK`` frames, and the run
#: ends while there is room for the video's index.
RESERVE_BYTES = 16 << 20
_LOOK = 15


class VideoSink(PartFile):
    """Every frame with its answer under it.

    A video has one rate: a frame is repeated until the next one was taken, and left out where two
    fall on one picture. Where the clock goes back, or jumps ahead by more than LONGEST_GAP_S, the
    next frame follows at once.

    Args:
        fps: pictures a second; None takes the rate of the first frames.
        images: folder that the gallery's image paths are in, for thumbnails.
        rule: what makes an answer a fix; any other place is drawn as unknown.
        inputs: what the run reads, which is never written over.

    Raises:
        UsageError: a suffix that is no video's, a device or a pipe, or an input of the run.
        TargetError: OpenCV has no encoder for it.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: float | None = None,
        images: Path | None = None,
        rule: FixRule | None = None,
        inputs: Iterable[Path | str] = (),
    ) -> None:
        super().__init__(path, inputs=inputs, name="sink")
        # That of the name given: a link may lead to a file of any name.
        self._suffix = Path(path).suffix
        if self._suffix.lower() not in CODECS:
            raise UsageError(
                f"found the video {path}, expected a name ending in {', '.join(CODECS)}: for "
                f"example video:{self.path.stem or 'run'}.mp4"
            )
        if self.through:
            raise UsageError(
                f"found the video {path}, which is a device or a pipe, expected a file, as a video "
                "is not written from front to back: name one"
            )
        # OpenCV chooses the container by the suffix.
        self.part = self.path.with_name(f"{self.path.stem}.part{self._suffix}")
        self._asked = fps
        self._annotator = Annotator(images, rule)

    def open(self) -> None:
        self._writer: Any = None
        self._waiting: list[tuple[float | None, Image]] = []
        self._rate = 0.0
        self._start = self._newest = 0.0
        self._count = 0  # pictures written; the next one's place
        self._last: Image | None = None
        os.truncate(self.part, 0)

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        self._waiting.append((answer.time, self._annotator.draw(answer, frame)))
        if self._writer is not None or self._asked or len(self._waiting) == _MEASURED:
            self._encode()

    def _encode(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self._writer is None:
            times = [at for at, _ in waiting if at is not None]
            self._rate = self._asked or (_rate(times) if times else IMAGES_FPS)
            self._writer = self._start_video(waiting[0][1])
        for at, picture in waiting:
            self._put(self._count / self._rate + self._start if at is None else at, picture)

    def _start_video(self, first: Image) -> Any:
        import cv2

        codec = CODECS[self._suffix.lower()]
        size = first.shape[1], first.shape[0]
        fourcc = cv2.VideoWriter.fourcc(*codec)
        writer = cv2.VideoWriter(str(self.part), fourcc, self._rate, size)
        if not writer.isOpened():
            raise TargetError(
                f"found no {codec} encoder in OpenCV {cv2.__version__}, expected one for "
                f"{self.path.name}: use video:FILE.avi, or run pip install opencv-python-headless"
            )
        return writer

    def _put(self, at: float, picture: Image) -> None:
        place = round((at - self._start) * self._rate)
        if not self._count or at < self._newest or at - self._newest > LONGEST_GAP_S:
            self._start, place = at - self._count / self._rate, self._count
        self._newest = at
        if place < self._count:
            return
        while self._count < place and self._last is not None:
            self._picture(self._last)
        self._picture(picture)
        self._last = picture

    def _picture(self, picture: Image) -> None:
        if self._count % _LOOK == 0 and shutil.disk_usage(self.part.parent).free < RESERVE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.part))
        self._writer.write(picture)
        self._count += 1

    def close(self) -> None:
        import cv2

        try:
            self._encode()
        finally:
            if self._writer is not None:
                self._writer.release()
            else:
                self.part.unlink(missing_ok=True)
        if self._writer is not None:
            written = cv2.VideoCapture(str(self.part))
            readable = written.isOpened()
            written.release()
            if not readable:
                raise ResourceError(
                    f"found the video {self.part} not written to its end, expected room on its "
                    "disk: free some and run the command again"
                )


def _rate(times: list[float]) -> float:
    """Frames a second by the median distance of times that go forward."""
    gaps = [b - a for a, b in pairwise(times) if b > a]
    rate = 1 / median(gaps) if gaps else _SLOWEST
    # MPEG-4 has no room for a rate like 29.999999.
    return round(min(_FASTEST, max(_SLOWEST, rate)), 2)
