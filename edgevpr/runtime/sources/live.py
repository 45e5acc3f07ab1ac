"""Source of a live camera: the newest frame only, and reconnection when the camera goes away.

A thread takes every frame off the driver as it comes, so that no queue builds up before a slow
engine, and keeps the last one. Frames that the reader did not fetch in time count as dropped. The
reader watches that thread: when its camera ends, fails or stalls, it opens the camera again.
"""

import math
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from edgevpr.errors import DataError, EdgeVPRError
from edgevpr.runtime.sources.frames import Frame

#: Seconds a read waits before it checks whether the run was stopped.
_POLL_S = 0.1
#: Seconds closing waits for a driver that is blocked in a read.
_CLOSE_S = 2.0
#: Seconds an opened camera may take to its first frame: some streams send a whole picture only
#: every few seconds.
FIRST_FRAME_S = 10.0


class Capture(Protocol):
    """The part of ``cv2.VideoCapture`` that is used.

    Where it has a number ``skipped``, it has dropped so many frames itself since it was opened.
    """

    def grab(self) -> bool:
        """Wait for the next frame; False when the camera gives no more.

        Raises:
            CameraGone: why it gives no more.
            StreamEnded: it came to its own end, and would only start over.
        """
        ...

    def retrieve(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


#: Opens a camera. The event is set once its frames are not wanted any more; waits end then.
Open = Callable[[threading.Event], Capture]


class CameraGone(DataError):
    """Why a camera does not open or gives no more: the rest of a sentence that starts with it."""


class StreamEnded(Exception):
    """A stream that is over, as opposed to a camera that has gone."""


@dataclass(frozen=True)
class ReconnectPolicy:
    """Seconds until a camera counts as gone, and seconds in which it is tried again."""

    #: seconds, once it counts as gone, in which attempts to open it again begin; 0 is not at all.
    reconnect_s: float = 60.0
    #: seconds without a frame after which it is taken for gone.
    stall_s: float = 5.0

    def delays(self) -> Iterator[float]:
        """Seconds before each attempt: doubling, at most 8, the same every time."""
        delay = 0.5
        while True:
            yield delay
            delay = min(2 * delay, 8.0)


class LiveSource:
    """The newest frame of a camera whenever the reader asks.

    Args:
        capture: an opened camera; closed with the block.
        name: its address, given with every frame.
        reopen: opens the camera again after it has gone; without it the source ends then.
        reconnect: when a camera counts as gone and how long it is tried for.
        notify: called with a sentence when the camera goes, for each failed attempt, and when it is
            back.
    """

    live = True

    def __init__(
        self,
        capture: Capture,
        name: str,
        *,
        reopen: Open | None = None,
        reconnect: ReconnectPolicy | None = None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.drops = 0
        self.remark = ""
        #: the camera went and did not come back.
        self.gone = False
        self._reopen = reopen
        self._reconnect = reconnect or ReconnectPolicy()
        self._notify = notify
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._count = 0
        self._losses = 0
        self._lost_s = 0.0
        self._connection = _Connection(self, lambda _: capture)

    def __enter__(self) -> "LiveSource":
        self._connection.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.leave()

    def frames(self, stop: threading.Event) -> Generator[Frame, None, None]:
        while not stop.is_set():
            with self._changed:
                if self._newest is None and not self._connection.ended:
                    self._changed.wait(_POLL_S)
                frame, self._newest = self._newest, None
                problem = "" if frame else self._connection.problem(self._reconnect.stall_s)
            if frame is not None:
                yield frame
            elif problem and not self._recover(problem, stop):
                return

    def _recover(self, problem: str, stop: threading.Event) -> bool:
        """Whether the camera is back; ``remark`` says how it went."""
        if self._connection.finished or self._reopen is None or self._reconnect.reconnect_s <= 0:
            over = "came to its end" if self._connection.finished else problem
            self.remark = f"{self.name} {over}"
            self.gone = not self._connection.finished
            return False
        budget, last = self._reconnect.reconnect_s, self._connection.last
        deadline = time.monotonic() + budget
        limit = f" for up to {budget:g} s" if math.isfinite(budget) else ""
        self._notify(f"{self.name} {problem}; trying to open it again{limit}")
        for attempt, delay in enumerate(self._reconnect.delays(), 1):
            left = deadline - time.monotonic()
            if left <= 0:
                self.gone = True
                self.remark = (
                    f"{self.name} {problem} and did not come back within {budget:g} s "
                    f"({attempt - 1} attempts); the run ended there"
                )
                return False
            self._connection.leave(wait=False)
            if stop.wait(min(delay, left)):
                return False
            self._connection = _Connection(self, self._reopen)
            self._connection.start()
            why_not = self._first_frame(stop)
            if stop.is_set():
                return False
            if not why_not:
                self._came_back(attempt, time.monotonic() - last)
                return True
            self._notify(f"{self.name}: attempt {attempt} failed: {why_not}")
        return False

    def _first_frame(self, stop: threading.Event) -> str:
        """Wait for a frame of a new link; why there is none, or ''."""
        while not stop.is_set():
            with self._changed:
                if self._connection.gave_frames:
                    return ""
                if problem := self._connection.problem(FIRST_FRAME_S):
                    return problem
                self._changed.wait(_POLL_S)
        return ""

    def _came_back(self, attempt: int, seconds: float) -> None:
        self._losses += 1
        self._lost_s += seconds
        self._notify(f"{self.name} is back after {seconds:.1f} s, at attempt {attempt}")
        times = "once" if self._losses == 1 else f"{self._losses} times"
        self.remark = (
            f"{self.name} was gone {times}, {self._lost_s:.1f} s in all, and was opened again"
        )

    def _take(
        self, link: "_Connection", image: Any, captured: float, wall: float, skipped: int
    ) -> None:
        """The newest frame, from the thread that reads the camera."""
        took = (time.monotonic() - captured) * 1e3
        with self._changed:
            if link.cancelled.is_set():
                return
            self.drops += skipped + (self._newest is not None)
            self._count += skipped
            self._newest = Frame(self._count, self.name, image, captured, wall, took)
            self._count += 1
            link.last, link.gave_frames = captured, True
            self._changed.notify()


class _Connection:
    """One opening of the camera, and the thread that reads it until it ends or is left.

    A driver may never return from a call. Its daemon thread is then left behind; it closes the
    camera should the call return.
    """

    def __init__(self, source: LiveSource, opening: Open) -> None:
        self.cancelled = threading.Event()
        self.ended = False
        #: it ended by itself, and is not to be opened again.
        self.finished = False
        self.gave_frames = False
        #: ``time.monotonic()`` of the last frame, before the first of the opening.
        self.last = time.monotonic()
        self._why = ""
        self._source = source
        self._opening = opening
        self._thread = threading.Thread(
            target=self._read, name=f"camera {source.name}", daemon=True
        )

    def start(self) -> None:
        self.last = time.monotonic()
        self._thread.start()

    def leave(self, *, wait: bool = True) -> None:
        self.cancelled.set()
        if wait:
            self._thread.join(_CLOSE_S)

    def problem(self, stall_s: float) -> str:
        """Why there will be no further frame, as the rest of a sentence, or ''."""
        if self.ended:
            return self._why or "gave no further frame; the camera is gone or ended"
        allowed = stall_s if self.gave_frames else max(stall_s, FIRST_FRAME_S)
        if time.monotonic() - self.last > allowed:
            return f"gave no frame for {allowed:g} s"
        return ""

    def _read(self) -> None:
        capture: Capture | None = None
        counted = 0
        try:
            capture = self._opening(self.cancelled)
            while not self.cancelled.is_set() and capture.grab():
                captured, wall = time.monotonic(), time.time()
                skipped = getattr(capture, "skipped", 0) - counted
                found, image = capture.retrieve()
                if not found:
                    break
                self._source._take(self, image, captured, wall, skipped)
                counted += skipped
        except StreamEnded:
            self.finished = True
        except EdgeVPRError as error:
            self._why = str(error)
        finally:
            with self._source._changed:
                self._source.drops += getattr(capture, "skipped", 0) - counted
                self.ended = True
                self._source._changed.notify()
            if capture is not None:
                capture.release()
