"""Loop of a run: frames from a source, answers from a localizer, in order, to the sinks.

Three threads. One decodes, a few frames ahead for files, the newest only for cameras
(``runtime.sources.live``). One owns the localizer (``runtime.localizer_thread``). The calling
thread passes frames and answers, writes the sinks, takes signals and swaps localizers, so that a
file's next frame is located while a sink writes. A camera's next frame is taken once the answer
before it is written, so that it is the newest.
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
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.localizer_thread import LocalizerThread
from edgevpr.runtime.sinks import Sink
from edgevpr.runtime.sources.frames import Frame, Source
from edgevpr.runtime.swap import Swap
from edgevpr.runtime.tally import Tally

#: Frames of a file decoded ahead of the engine, and submitted to it ahead of the sinks.
DECODED_AHEAD = 4
SUBMITTED_AHEAD = 2
_POLL_S = 0.1
_CLOSE_S = 2.0
#: Seconds a run may still take after a signal before it is interrupted.
DRAIN_S = 8.0


def run(
    source: Source,
    localizer: Localizer | LocalizerThread,
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
        localizer: an entered thread, or a localizer that is not open.
        swap: may replace the localizer by that of a new bundle or gallery.

    Raises:
        NumericsError: the engine gave NaN or infinity for many frames in a row.
        OSError: the sink cannot be written (BrokenPipeError: its reader has gone).
    """
    stop = stop or threading.Event()
    with contextlib.ExitStack() as stack:
        if isinstance(localizer, Localizer):
            one = localizer
            localizer = stack.enter_context(LocalizerThread(lambda: one))
        loop = _Loop(localizer, sink, swap)
        stack.callback(loop.close)
        frames = stack.enter_context(contextlib.closing(_frames(source, stop, limit)))
        ahead = 0 if source.live else SUBMITTED_AHEAD
        while (frame := _next(frames, loop)) is not None:
            loop.submit(frame)
            loop.write_answers(keep=ahead)
            loop.swap_if_ready()
        loop.write_answers()
        finished = not stop.is_set() or loop.tally.frames == limit
    return loop.tally.summary(source, interrupted=not finished, swaps=loop.swaps)


class _Loop:
    """Frames in, answers out, in order, through a localizer thread that may be replaced."""

    def __init__(self, worker: LocalizerThread, sink: Sink, swap: Swap | None) -> None:
        self.tally = Tally()
        self.swaps = 0
        self._first = self._worker = worker
        self._sink = sink
        self._swap = swap
        #: frames without a written answer; those that have an image were submitted.
        self._waiting: deque[Frame] = deque()

    def submit(self, frame: Frame) -> None:
        self._waiting.append(frame)
        if frame.image is None:
            return
        self._worker.submit(frame)
        if self._swap:
            self._swap.offer(frame)

    def write_answers(self, keep: int = 0) -> None:
        """Wait for the answers to all frames but the last ``keep``; write them."""
        while len(self._waiting) > keep:
            frame = self._waiting.popleft()
            item: Answer | FrameError
            if frame.image is None:
                item = FrameError(frame.id, frame.source, frame.time, frame.error)
            else:
                item = self._worker.result()
            self._sink.write(item, frame)
            self.tally.add(item)
            if self._swap:
                self._swap.compare(item)

    def swap_if_ready(self) -> None:
        """Replace the localizer thread, between two frames, if another passed its comparison."""
        if self._swap is None or (worker := self._swap.replacement()) is None:
            return
        self.write_answers()
        # The caller closes the first thread again, which does nothing; an idle one ends at once.
        self._worker.close(wait=False)
        self._worker = worker
        self.swaps += 1

    def close(self) -> None:
        if self._swap:
            self._swap.close()
        if self._worker is not self._first:
            self._worker.close()


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

    While there is none yet, and if the source fails, answers to the frames before it are written.
    """
    while True:
        try:
            frame = next(frames)
        except StopIteration:
            return None
        except Exception:
            loop.write_answers()
            raise
        if frame is not None:
            return frame
        loop.write_answers()


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
