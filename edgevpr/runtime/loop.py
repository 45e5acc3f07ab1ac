"""The loop: frames from a source, answers from a lane, in order, to the sinks.

Three threads. A source decodes in one of its own, a few frames ahead for files, the newest only
for cameras (``runtime.sources.live``). A lane (``edgevpr.runtime.lane``) owns the engine and does
preprocessing, engine and search. The calling thread moves frames and answers, writes the sinks,
takes signals and swaps lanes, so that a file's next frame is worked on while a sink writes. A
camera's next frame is taken when the answer before has been written: then it is the newest.
"""

import contextlib
import math
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from types import FrameType

from edgevpr.runtime.answers import Answer, FrameError, RunSummary
from edgevpr.runtime.lane import Lane
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.sinks import Sink
from edgevpr.runtime.sources.frames import Frame, Source
from edgevpr.runtime.swap import Swap
from edgevpr.runtime.tally import Tally

#: Frames of a file decoded ahead of the engine, and handed to it ahead of the sinks.
DECODED_AHEAD = 4
ASKED_AHEAD = 2
_POLL_S = 0.1
_CLOSE_S = 2.0
#: What a run may still do after a signal before it is interrupted.
DRAIN_S = 8.0


def run(
    source: Source,
    localizer: Localizer | Lane,
    sink: Sink,
    *,
    limit: int | None = None,
    stop: threading.Event | None = None,
    swap: Swap | None = None,
) -> RunSummary:
    """Answer every frame of an entered source until it ends, ``limit`` frames, or ``stop``.

    When ``stop`` is set, frames already decoded are still answered; a frame that could not be
    read, or whose descriptor is no number, gets a ``FrameError`` and the run goes on.

    Args:
        localizer: an entered lane, or a localizer whose runner has not been entered.
        swap: what may put another lane in place of the first.

    Raises:
        NumericsError: the engine gave NaN or infinity for many frames in a row.
        OSError: the sink cannot be written (BrokenPipeError: its reader has gone).
    """
    stop = stop or threading.Event()
    with contextlib.ExitStack() as stack:
        if isinstance(localizer, Localizer):
            one = localizer
            localizer = stack.enter_context(Lane(lambda: one))
        loop = _Loop(localizer, sink, swap)
        stack.callback(loop.close)
        frames = stack.enter_context(contextlib.closing(_frames(source, stop, limit)))
        ahead = 0 if source.live else ASKED_AHEAD
        while (frame := _next(frames, loop)) is not None:
            loop.take(frame)
            loop.give(but=ahead)
            loop.perhaps_swap()
        loop.give()
        finished = not stop.is_set() or loop.tally.frames == limit
    return loop.tally.summary(source, interrupted=not finished, swaps=loop.swaps)


class _Loop:
    """Frames on one side, answers on the other, in order; between them a lane that may change."""

    def __init__(self, lane: Lane, sink: Sink, swap: Swap | None) -> None:
        self.tally = Tally()
        self.swaps = 0
        self._first = self._lane = lane
        self._sink = sink
        self._swap = swap
        #: frames taken and not given; the lane answers those that have an image.
        self._waiting: deque[Frame] = deque()

    def take(self, frame: Frame) -> None:
        self._waiting.append(frame)
        if frame.image is None:
            return
        self._lane.ask(frame)
        if self._swap:
            self._swap.offer(frame)

    def give(self, but: int = 0) -> None:
        """Wait for the answers to all frames taken ``but`` the last few; write them."""
        while len(self._waiting) > but:
            frame = self._waiting.popleft()
            item: Answer | FrameError
            if frame.image is None:
                item = FrameError(frame.id, frame.source, frame.time, frame.error)
            else:
                item = self._lane.tell()
            self._sink.write(item, frame)
            self.tally.add(item)
            if self._swap:
                self._swap.compare(item)

    def perhaps_swap(self) -> None:
        """Put the lane that passed its comparison in place, between two frames."""
        if self._swap is None or (lane := self._swap.passed()) is None:
            return
        self.give()
        # The caller's lane is closed by the caller; a thread at rest goes at once either way.
        self._lane.close(wait=False)
        self._lane = lane
        self.swaps += 1

    def close(self) -> None:
        if self._swap:
            self._swap.close()
        if self._lane is not self._first:
            self._lane.close()


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event yielded; a second one interrupts at once.

    A run that has not drained ``DRAIN_S`` seconds after the first, because a sink takes nothing
    more, is interrupted as if by a second. Only in the main thread, where Python delivers signals.
    """
    stop = threading.Event()
    main = threading.get_ident()
    late = threading.Timer(DRAIN_S, lambda: signal.pthread_kill(main, signal.SIGINT))
    late.daemon = True

    def first(number: int, _: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.default_int_handler)
        if late.ident is None:  # not started by a signal that came in the middle of this one
            late.start()
        stop.set()

    before = {number: signal.signal(number, first) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        late.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def call_on_hangup(action: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    """SIGHUP calls ``action``, which must only set a flag; if the terminal is gone, it stops."""
    at_terminal = os.isatty(2)

    def hangup(number: int, _: FrameType | None) -> None:
        if at_terminal and not os.isatty(2):
            stop.set()
        else:
            action()

    before = signal.signal(signal.SIGHUP, hangup)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _next(frames: Generator[Frame | None, None, None], loop: _Loop) -> Frame | None:
    """The next frame, or None at the end.

    While there is none yet, and if the source fails, the frames before it are answered: nothing is
    held back behind a slow disk, and nothing is lost to one that breaks.
    """
    while True:
        try:
            frame = next(frames)
        except StopIteration:
            return None
        except Exception:
            loop.give()
            raise
        if frame is not None:
            return frame
        loop.give()


def _frames(
    source: Source, stop: threading.Event, limit: int | None
) -> Generator[Frame | None, None, None]:
    """Up to ``limit`` frames; None in between means that there is none yet."""
    frames = source.frames(stop) if source.live else _ahead(source, stop)
    with contextlib.closing(frames):
        count = 0
        for frame in frames if limit != 0 else ():
            count += frame is not None
            yield frame
            if count == limit:
                return


def _ahead(source: Source, stop: threading.Event) -> Generator[Frame | None, None, None]:
    """The source's frames, decoded up to ``DECODED_AHEAD`` in advance by a thread."""
    # A frame, the error that ended the source, or None at its end.
    ready: queue.Queue[Frame | BaseException | None] = queue.Queue(DECODED_AHEAD)
    closed = threading.Event()

    def put(item: Frame | BaseException | None) -> bool:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=_POLL_S)
                return True
        return False

    def decode() -> None:
        end: BaseException | None = None
        try:
            for frame in source.frames(stop):
                if not put(frame):
                    return
        except BaseException as error:  # handed to the thread that reads
            end = error
        put(end)

    thread = threading.Thread(target=decode, name="decode", daemon=True)
    thread.start()
    stopped_at = math.inf
    try:
        while True:
            try:
                item = ready.get(timeout=_POLL_S)
            except queue.Empty:
                if stop.is_set():
                    stopped_at = min(stopped_at, time.monotonic())
                    if time.monotonic() - stopped_at > _CLOSE_S:
                        return  # a read from a dead network mount may never return
                yield None
                continue
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            yield item
    finally:
        closed.set()
        thread.join(_CLOSE_S if stopped_at == math.inf else _POLL_S)
