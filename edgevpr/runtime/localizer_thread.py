"""Thread that owns one localizer: frames in, answers out, in order.

TensorRT wants one owner thread, and a second pair that is compared beside the first needs one too:
so every localizer of a run has its own thread, and the loop passes frames and answers.
"""

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType

from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.sources.frames import Frame

#: Seconds that closing waits for an engine at work.
_CLOSE_S = 2.0
#: Seconds that the process waits for it at its exit, at most.
_EXIT_S = 20.0
#: Exit code of a run that was interrupted, as nothing else leaves an engine at work.
_INTERRUPTED = 130


class LocalizerThread:
    """Answers frames in the order submitted, in a thread that opens, owns and closes the localizer.

    As a ``with`` block it waits until the engine has warmed up, and raises what opening raised. All
    methods are for one thread, that of the loop.

    Args:
        open: gives the localizer, not yet open; called in the new thread.
    """

    def __init__(self, open: Callable[[], Localizer]) -> None:
        self._open = open
        self._frames: SimpleQueue[Frame | None] = SimpleQueue()
        #: None once, when the localizer is open; then answers; or the error that ended the thread.
        self._results: SimpleQueue[Answer | FrameError | BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to open; ``ready`` says when it is done."""
        self._thread.start()

    def ready(self) -> bool:
        """Whether the localizer is open; does not wait, and is true once. Raises its error."""
        if self._results.empty():
            return False
        self._next()
        return True

    def submit(self, frame: Frame) -> None:
        """Queue a frame that has an image; the thread only reads it."""
        self._frames.put(frame)

    def done(self) -> bool:
        """Whether ``result`` will not wait."""
        return not self._results.empty()

    def result(self) -> Answer | FrameError:
        """The answer to the oldest frame without one; waits for it, raises the engine's error."""
        answer = self._next()
        assert answer is not None, "``ready`` has taken the None"
        return answer

    def close(self, *, wait: bool = True) -> None:
        """Let the thread close the localizer, after the frames already submitted.

        What it has not ended then is waited for at the process's exit: an engine that is left
        while it opens or works has threads of its own, and C++ aborts the process for them.
        """
        self._frames.put(None)
        if wait and self._thread.is_alive():
            self._thread.join(_CLOSE_S)
        if self._thread.is_alive():
            atexit.register(_end, self._thread)

    def __enter__(self) -> "LocalizerThread":
        self.start()
        try:
            self._next()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _next(self) -> Answer | FrameError | None:
        item = self._results.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _work(self) -> None:
        try:
            localizer = self._open()
            # Its closure may hold another localizer, which must not live as long as this one.
            del self._open
            with localizer:
                self._results.put(None)
                while (frame := self._frames.get()) is not None:
                    self._results.put(localizer.answer(frame))
                    # A frame is not kept while the thread waits for the next.
                    del frame
        except BaseException as error:  # raised in the thread of the loop
            self._results.put(error)


def _end(thread: threading.Thread) -> None:
    """Wait for an engine's thread; end the process without C++'s farewells where it stays."""
    with contextlib.suppress(KeyboardInterrupt):
        thread.join(_EXIT_S)
    if thread.is_alive():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(_INTERRUPTED)
