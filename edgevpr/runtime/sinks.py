"""Where answers go: JSON lines on stdout or in a file."""

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

import msgspec

from edgevpr.runtime.answers import Answer, FrameError


class Sink(Protocol):
    """Takes every answer, in order, as soon as there is one."""

    def write(self, answer: Answer | FrameError) -> None: ...


class StandardOutput:
    """One JSON line an answer on stdout, flushed at once.

    ``write`` raises BrokenPipeError when the reader has gone.
    """

    def __init__(self) -> None:
        # Unbuffered where possible: nothing is left to flush, and to fail again, at exit.
        self._stream: IO[bytes] = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)

    def write(self, answer: Answer | FrameError) -> None:
        rest = memoryview(msgspec.json.encode(answer) + b"\n")
        while rest:
            rest = rest[self._stream.write(rest) :]


class JsonLinesFile:
    """One JSON line an answer in ``path``, which appears when the run was complete.

    Until then the lines, each flushed at once, stand in ``path.part``. A run that breaks off
    leaves that file for whoever wants the lines, and an older ``path`` as it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self.complete = False

    def __enter__(self) -> "JsonLinesFile":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream: IO[bytes] = self.part.open("wb")
        return self

    def write(self, answer: Answer | FrameError) -> None:
        self._stream.write(msgspec.json.encode(answer) + b"\n")
        self._stream.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename to ``path`` if the block ended well and ``complete`` was set in it."""
        with self._stream:
            if kind is None:
                self._stream.flush()
                os.fsync(self._stream.fileno())
        if kind is None and self.complete:
            self.part.replace(self.path)
