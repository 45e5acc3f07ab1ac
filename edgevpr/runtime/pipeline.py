"""The loop: capture, preprocess, engine, search, sink.

Files are decoded by a thread that runs a few frames ahead; live cameras have a thread of their
own (``edgevpr.runtime.live``). Engine and search stay on the calling thread.
"""

import contextlib
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from types import FrameType

import numpy as np

from edgevpr.runtime.answers import Answer, FrameError, Spread, Summary
from edgevpr.runtime.frames import Frame, Source
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.sinks import Sink

#: Frames decoded ahead of the engine.
AHEAD = 4
_POLL_S = 0.1
_CLOSE_S = 2.0
_KEPT = 10_000


def run(
    source: Source,
    localizer: Localizer,
    sink: Sink,
    *,
    limit: int | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Answer every frame of an entered source until it ends, ``limit`` frames, or ``stop``.

    When ``stop`` is set, frames already decoded are still answered; a frame that could not be
    read gets a ``FrameError`` and the run goes on.

    Raises:
        NumericsError: the engine gave NaN or infinity.
        OSError: the sink cannot be written (BrokenPipeError: its reader has gone).
    """
    stop = stop or threading.Event()
    counts = {"frames": 0, "errors": 0}
    # total, engine, search, age
    times: deque[tuple[float, float, float, float]] = deque(maxlen=_KEPT)
    localizer.warm_up()
    finished = False
    started = time.monotonic()
    with contextlib.closing(_frames(source, stop, limit)) as frames:
        for frame in frames:
            counts["frames"] += 1
            if frame.image is None:
                counts["errors"] += 1
                sink.write(FrameError(frame.id, frame.source, frame.time, frame.error), frame)
                continue
            answer = localizer.locate(frame)
            sink.write(answer, frame)
            times.append(_times(answer))
        finished = not stop.is_set() or counts["frames"] == limit
    seconds = time.monotonic() - started
    total, engine, search, age = _spreads(times)
    return Summary(
        frames=counts["frames"],
        errors=counts["errors"],
        drops=source.drops,
        seconds=round(seconds, 3),
        fps=round(counts["frames"] / seconds, 2) if seconds > 0 else 0.0,
        end_to_end_ms=total,
        engine_ms=engine,
        search_ms=search,
        frame_age_ms=age,
        interrupted=not finished,
        remarks=[source.remark] if source.remark else [],
    )


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event yielded; a second one interrupts at once.

    Only in the main thread, where Python delivers signals.
    """
    stop = threading.Event()

    def first(number: int, _: FrameType | None) -> None:
        stop.set()
        for each in before:
            signal.signal(each, signal.default_int_handler)

    before = {number: signal.signal(number, first) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _frames(
    source: Source, stop: threading.Event, limit: int | None
) -> Generator[Frame, None, None]:
    frames = source.frames(stop) if source.live else _ahead(source, stop)
    with contextlib.closing(frames):
        count = 0
        while count != limit and (frame := next(frames, None)) is not None:
            count += 1
            yield frame


def _ahead(source: Source, stop: threading.Event) -> Generator[Frame, None, None]:
    """The source's frames, decoded up to ``AHEAD`` in advance by a thread."""
    # A frame, the error that ended the source, or None at its end.
    ready: queue.Queue[Frame | BaseException | None] = queue.Queue(AHEAD)
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
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            yield item
    finally:
        closed.set()
        # Not for ever: a read from a dead network mount may never return.
        thread.join(_CLOSE_S)


def _times(answer: Answer) -> tuple[float, float, float, float]:
    ms = answer.ms
    return ms.total, ms.engine, ms.search, answer.frame_age_ms


def _spreads(times: deque[tuple[float, float, float, float]]) -> list[Spread | None]:
    if not times:
        return [None] * 4
    p50, p95 = np.percentile(np.array(times), [50, 95], axis=0)
    return [Spread(round(float(a), 3), round(float(b), 3)) for a, b in zip(p50, p95, strict=True)]
