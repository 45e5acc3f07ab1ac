"""One engine and one gallery in a thread of their own.

TensorRT wants one owner thread, and a second pair that is tried beside the first needs a thread
too: so every pair gets one, and the loop only hands frames in and takes answers out.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType

from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.sources.frames import Frame

#: How long closing waits for an engine at work; its thread cannot keep the process alive.
_CLOSE_S = 2.0


class Lane:
    """Answers frames in the order asked, in a thread that opens, owns and closes the runner.

    As a ``with`` block it waits until the engine has warmed up, and raises there what opening
    raised. All methods are for one thread, that of the loop.

    Args:
        open: gives the localizer, its runner not yet entered; called in the lane's thread.
    """

    def __init__(self, open: Callable[[], Localizer]) -> None:
        self._open = open
        self._asked: SimpleQueue[Frame | None] = SimpleQueue()
        #: None first, when the lane is ready; then answers; or the error that ended it.
        self._told: SimpleQueue[Answer | FrameError | BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to open; ``opened`` says when it is done."""
        self._thread.start()

    def opened(self) -> bool:
        """Whether the lane takes frames; does not wait. Raises what opening raised."""
        if self._told.empty():
            return False
        self._next()
        return True

    def ask(self, frame: Frame) -> None:
        """Hand in a frame that has an image; the lane only reads it."""
        self._asked.put(frame)

    def answered(self) -> bool:
        """Whether ``tell`` will not wait."""
        return not self._told.empty()

    def tell(self) -> Answer | FrameError:
        """The answer to the oldest frame asked and not told yet; raises what the engine raised."""
        answer = self._next()
        assert answer is not None, "a lane says once that it is ready"
        return answer

    def close(self, *, wait: bool = True) -> None:
        """Let the thread close the engine, after the frames already asked."""
        self._asked.put(None)
        if wait and self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    def __enter__(self) -> "Lane":
        self.start()
        self._next()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _next(self) -> Answer | FrameError | None:
        item = self._told.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _work(self) -> None:
        try:
            localizer = self._open()
            # What it captured may hold another pair: only this thread keeps this one.
            del self._open
            with localizer:
                self._told.put(None)
                while (frame := self._asked.get()) is not None:
                    self._told.put(localizer.answer(frame))
                    # A frame is not kept while the lane waits for the next.
                    del frame
        except BaseException as error:  # raised in the thread of the loop
            self._told.put(error)
