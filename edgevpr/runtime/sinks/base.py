"""The ``Sink`` protocol, several sinks as one, and files that appear once a run was complete."""

import abc
import contextlib
import fcntl
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, TypeVar

from edgevpr.errors import ResourceError, UsageError
from edgevpr.files import output_file
from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.sources.frames import Frame


class Sink(Protocol):
    """Takes every answer, in order, as soon as there is one."""

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        """Take an answer and, for the sinks that show it, the frame it is about.

        The frame's pixels are valid until ``write`` returns: copy them to change or keep them.
        """


class SinkGroup:
    """Hands every answer to several sinks, in order."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.sinks = sinks

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        for sink in self.sinks:
            sink.write(answer, frame)


#: Attempts to open a part file that another run renames in between.
_TRIES = 5

P = TypeVar("P", bound="PartFile")


class PartFile(abc.ABC):
    """A file that appears at ``path`` when the run was complete.

    Until then it stands in ``part``. A run that breaks off leaves that file, and an older ``path``
    as it was. One run at a time writes to a name: ``part`` is locked for the length of the block.
    Devices and pipes are written as they are; of a link, the file that it leads to
    (``edgevpr.files.output_file``).

    Args:
        inputs: what the run reads, which is never written over.
        name: parameter that an error names.

    Raises:
        UsageError: a folder, or an input of the run.
    """

    def __init__(self, path: Path, *, inputs: Iterable[Path | str] = (), name: str = "out") -> None:
        self._inputs, self._name = list(inputs), name
        self._output = output_file(path, self._inputs, name=name)
        self.path = self._output.path
        self.part = self.path
        if not self.through:
            self.part = self.path.with_name(self.path.name + ".part")
        #: set in the block once nothing is missing.
        self.complete = False

    @property
    def through(self) -> bool:
        """Whether it is a device or a pipe, which has no part file."""
        return self._output.through

    def stream(self) -> IO[bytes]:
        """``part``, empty and unbuffered, or the device or pipe; of a pipe, once it is read."""
        if self.through:
            return os.fdopen(self._output.open_through(), "wb", buffering=0)
        return self.part.open("wb", buffering=0)

    @abc.abstractmethod
    def open(self) -> None:
        """Begin ``part``, which exists and is locked; overwrite what an earlier run left in it."""

    @abc.abstractmethod
    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        """Take an answer, as ``Sink`` does."""

    @abc.abstractmethod
    def close(self) -> None:
        """End ``part``, after an error too; all of it is on the disk then."""

    def __enter__(self: P) -> P:
        self._lock: int | None = None
        if not self.through:
            self._check_part()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.part, self.path)
        try:
            self.open()
        except BaseException:
            self._unlock()
            raise
        return self

    def _check_part(self) -> None:
        """Raise where ``part`` is read by this run, or would be written into something else."""
        if self.part.is_symlink() or output_file(self.part, self._inputs, name=self._name).through:
            raise UsageError(
                f"found a link, a device or a pipe at {self.part}, expected a free place, as "
                f"{self.path.name} stands there until the run ends: remove it"
            )

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename to ``path`` if the block ended well and ``complete`` was set in it."""
        try:
            try:
                self.close()
            except (OSError, ResourceError):
                # A disk that failed a write fails the close too: the first error is shown.
                if kind is None:
                    raise
            if kind is None and self.complete and not self.through and self.part.exists():
                if self.path.exists():  # a file that is replaced hands on its permissions
                    self.part.chmod(stat.S_IMODE(self.path.stat().st_mode))
                self.part.replace(self.path)
        finally:
            self._unlock()


def _lock(part: Path, path: Path) -> int:
    """An open, locked ``part``; closing it releases the lock.

    Raises:
        UsageError: another run has it, or another sink of this one.
    """
    for left in reversed(range(_TRIES)):
        handle = os.open(part, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            break
        except OSError:  # a file system without locks
            return handle
        # The run that had it may have renamed it since: then this is its finished file.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), part.stat()):
                return handle
        if not left:  # a file system whose numbers of files do not last
            return handle
        os.close(handle)
    raise UsageError(
        f"found {path} being written already, by another run or another sink, expected a name of "
        "its own: choose another one, or wait until that run ends"
    )


class WholeRecords:
    """A file of whole records, also when the disk was full in the middle of one.

    Args:
        stream: unbuffered, so that a record has reached the system when ``write`` returns.
        path: named by errors.
    """

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self.path = path
        self._stream = stream
        # Counted here: a pipe and a device have no position.
        self._end = 0

    def write(self, record: bytes) -> int:
        """Append a record and return its length.

        Raises:
            OSError: it did not fit; a plain file holds the records before it.
        """
        rest = memoryview(record)
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):  # a device has no length
                self._stream.truncate(self._end)
                self._stream.seek(self._end)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._end += len(record)
        return len(record)

    def tell(self) -> int:
        return self._end

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        with self._stream as stream:
            if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                os.fsync(stream.fileno())
