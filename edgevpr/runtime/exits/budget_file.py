"""Level of a budget that another program writes to a file: battery, heat, what it likes.

A thread reads it twice a second, so that a file on a disk that does not answer holds up no frame.
"""

import math
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgevpr.errors import DataError

POLL_S = 0.5
#: Seconds without an end of a read after which the file counts as lost.
STALE_S = 5.0
#: Bytes that a level may have.
_MOST = 64


class BudgetFile:
    """The last good level; ``level`` never waits.

    A file that is gone, or holds no level, is reported once, when it was so twice in a row (another
    program may be writing it); so is its return.

    Args:
        path: a plain file with a number from 0 (nothing to spend) to 1.
        notify: called with one line, by the thread that asks for the level.
        read: gives the content of the file.
        clock: seconds.

    Raises:
        DataError: there is no level in it to begin with.
    """

    def __init__(
        self,
        path: Path,
        notify: Callable[[str], None],
        *,
        read: Callable[[Path], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._notify = notify
        self._read = read or _content
        self._clock = clock
        self._bad = 0
        self._problem = ""
        self._said = ""
        self._polled = clock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        try:
            self._level = _parsed(self._read(path))
        except (OSError, ValueError) as error:
            raise DataError(
                f"found {path}, {_why(error)}, expected a number from 0 to 1: write one to it, "
                "or choose another `exit`"
            ) from error

    def open(self) -> None:
        """Begin to read it again and again."""
        self._polled = self._clock()
        self._thread = threading.Thread(target=self._work, name="budget", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()

    def poll(self) -> None:
        """Read it once; waits as long as the file does."""
        try:
            level = _parsed(self._read(self.path))
        except (OSError, ValueError) as error:
            self._bad += 1
            if self._bad > 1:
                self._problem = _why(error)
        else:
            self._bad, self._problem = 0, ""
            self._level = level
        self._polled = self._clock()

    def level(self) -> float:
        """0 to 1: what was read last."""
        problem = self._problem
        if not problem and self._thread is not None and self._clock() - self._polled > STALE_S:
            problem = "does not answer"
        if problem and not self._said:
            self._notify(
                f"kept the budget at {self._level:g}: found {self.path}, {problem}, expected a "
                "number from 0 to 1"
            )
        elif self._said and not problem:
            self._notify(f"the budget follows {self.path} again: {self._level:g}")
        self._said = problem
        return self._level

    def _work(self) -> None:
        while not self._closed.wait(POLL_S):
            self.poll()


def _content(path: Path) -> bytes:
    """At most ``_MOST`` bytes of a plain file; nothing waits for a pipe's writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("which is no plain file")
        return os.read(descriptor, _MOST + 1)
    finally:
        os.close(descriptor)


def _parsed(content: bytes) -> float:
    try:
        level = float(content.decode("ascii")) if len(content) <= _MOST else math.nan
    except ValueError:
        level = math.nan
    if not 0.0 <= level <= 1.0:
        shown = content[:20].decode("ascii", "replace").strip()
        raise ValueError(f"which holds {shown!r}")
    return level


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"which cannot be read ({error.strerror or type(error).__name__})"
    return str(error)
