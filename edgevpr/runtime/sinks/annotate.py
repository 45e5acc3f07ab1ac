"""Drawing of a frame with its answer: place, position, score, and the gallery image matched."""

from collections import OrderedDict
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.sinks.position import FixRule
from edgevpr.runtime.sources.frames import Frame

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

#: Height of the strip under the frame, pixels; the thumbnail fills it.
STRIP = 96
_WIDEST, _NARROWEST = 1280, 480
_KEPT = 16
_WHITE, _GREY, _GREEN, _RED = (255, 255, 255), (150, 150, 150), (90, 200, 90), (70, 70, 230)
#: Seconds below which a time counts from a video's start.
_UNIX = 1e8


class Annotator:
    """Draws every frame of a run on a canvas of one size, that of the first.

    Args:
        images: folder that the gallery's image paths are in; no thumbnails without.
        rule: what makes an answer a fix; any other place is drawn as unknown, and one that
            nothing judged as that.
    """

    def __init__(self, images: Path | None = None, rule: FixRule | None = None) -> None:
        self._images = images
        self._rule = rule or FixRule()
        self._size: tuple[int, int] | None = None
        self._thumbnails: OrderedDict[str, Image | None] = OrderedDict()

    def draw(self, answer: Answer | FrameError, frame: Frame | None) -> Image:
        """(H + STRIP, W, 3) BGR, sides even as video codecs want them; the frame stays as it is."""
        image = None if frame is None else frame.image
        if self._size is None:
            self._size = _canvas_size(image)
        width, height = self._size
        canvas = np.zeros((height + STRIP, width, 3), np.uint8)
        if image is not None:
            _place(image, canvas[:height])
        right = width
        if isinstance(answer, Answer) and answer.top:
            thumbnail = self._thumbnail(answer.top[0].image)
            if thumbnail is not None:
                right = width - min(thumbnail.shape[1], width // 3)
                canvas[height:, right:] = thumbnail[:, : width - right]
        colour, lines = self._strip_text(answer)
        canvas[height:, :6] = colour
        _write(canvas, lines, height, right)
        return canvas

    def _strip_text(self, answer: Answer | FrameError) -> tuple[Colour, list[tuple[str, Colour]]]:
        """The strip's colour, and its lines with theirs."""
        head = (f"frame {answer.frame}  {_moment(answer.time)}", _WHITE)
        if isinstance(answer, FrameError):
            return _RED, [head, ("unreadable", _RED), (answer.error, _GREY)]
        if replace(self._rule, assume_known=True).fix(answer) is None:
            says, colour = "unknown: ", _RED
        else:
            # ``known`` is None without a confidence model.
            says, colour = ("known: ", _GREEN) if answer.known else ("not judged: ", _WHITE)
        place = "no place" if answer.place is None else f"place {answer.place}"
        score = "" if answer.score is None else f"  score {answer.score:.3f}"
        if answer.confidence is not None:
            score += f"  confidence {answer.confidence:.0%}"
        where = "no position"
        if answer.lat is not None and answer.lon is not None:
            where = f"{answer.lat:.6f}, {answer.lon:.6f}"
        last = (f"{where}  {answer.ms.total:.1f} ms", _GREY if colour == _RED else _WHITE)
        return colour, [head, (f"{says}{place}{score}", colour), last]

    def _thumbnail(self, name: str) -> Image | None:
        """(STRIP, w, 3), the last ones kept; None where there is no such file."""
        import cv2

        if self._images is None:
            return None
        if name not in self._thumbnails:
            path = self._images / name
            # Checked first: OpenCV prints a warning for a missing file.
            read = cv2.imread(str(path)) if path.is_file() else None
            if read is not None:
                width = max(1, round(read.shape[1] * STRIP / read.shape[0]))
                read = cv2.resize(read, (width, STRIP), interpolation=cv2.INTER_AREA)
            self._thumbnails[name] = None if read is None else np.asarray(read, np.uint8)
            if len(self._thumbnails) > _KEPT:
                self._thumbnails.popitem(last=False)
        return self._thumbnails[name]


def _canvas_size(image: Image | None) -> tuple[int, int]:
    """(width, height) of the frame on the canvas: its own, within what shows the text."""
    height, width = (480, 640) if image is None else image.shape[:2]
    scale = min(_WIDEST, max(_NARROWEST, width)) / width
    return max(2, round(width * scale) & ~1), max(2, round(height * scale) & ~1)


def _place(image: Image, canvas: Image) -> None:
    """The image as large as it fits, in the middle."""
    import cv2

    height, width = canvas.shape[:2]
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
    if size != (image.shape[1], image.shape[0]):
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    x, y = (width - size[0]) // 2, (height - size[1]) // 2
    canvas[y : y + size[1], x : x + size[0]] = image


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < _UNIX:
        return f"{seconds:.2f} s"
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S.%f}"[:-4] + " UTC"


def _write(canvas: Image, lines: list[tuple[str, Colour]], top: int, right: int) -> None:
    import cv2

    # Cut off at the thumbnail, not over it.
    strip = np.ascontiguousarray(canvas[top:, :right])
    for i, (text, colour) in enumerate(lines):
        # OpenCV's fonts hold ASCII alone.
        plain = text.encode("ascii", "replace").decode()
        at = (16, 26 + 28 * i)
        cv2.putText(strip, plain, at, cv2.FONT_HERSHEY_SIMPLEX, 0.52, colour, 1, cv2.LINE_AA)
    canvas[top:, :right] = strip
