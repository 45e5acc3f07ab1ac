"""Where answers go: JSON lines on stdout or in a file, CSV, NMEA 0183."""

import csv
import io
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from edgevpr.errors import UsageError
from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.nmea import NmeaServer


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


class Several:
    """Hands every answer to several sinks, in order."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.sinks = sinks

    def write(self, answer: Answer | FrameError) -> None:
        for sink in self.sinks:
            sink.write(answer)


F = TypeVar("F", bound="_PartFile")


class _PartFile:
    """A file of lines that appears at ``path`` when the run was complete.

    Until then the lines, each flushed at once, stand in ``path.part``. A run that breaks off
    leaves that file for whoever wants the lines, and an older ``path`` as it was.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.part = self.path.with_name(self.path.name + ".part")
        self.complete = False

    def __enter__(self: F) -> F:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream: IO[bytes] = self.part.open("wb")
        self._put(self.head())
        return self

    def head(self) -> bytes:
        """What the file starts with."""
        return b""

    def line(self, answer: Answer | FrameError) -> bytes:
        raise NotImplementedError

    def write(self, answer: Answer | FrameError) -> None:
        self._put(self.line(answer))

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
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


class JsonLinesFile(_PartFile):
    """One JSON line an answer."""

    def line(self, answer: Answer | FrameError) -> bytes:
        return msgspec.json.encode(answer) + b"\n"


#: Columns of a CSV file of answers; the last is empty where a frame was read.
CSV_COLUMNS = (
    "frame", "source", "time", "place", "lat", "lon", "score", "frame_age_ms", "total_ms", "error",
)  # fmt: skip


class CsvFile(_PartFile):
    """One line an answer, for spreadsheets: the best place, times in ms, and errors."""

    def head(self) -> bytes:
        return self._row(CSV_COLUMNS)

    def line(self, answer: Answer | FrameError) -> bytes:
        if isinstance(answer, FrameError):
            known: dict[str, object] = {"error": answer.error}
        else:
            known = {name: getattr(answer, name) for name in CSV_COLUMNS[3:8]}
            known["total_ms"] = answer.ms.total
        common = {"frame": answer.frame, "source": answer.source, "time": answer.time}
        row = common | known
        return self._row(["" if row.get(name) is None else row[name] for name in CSV_COLUMNS])

    @staticmethod
    def _row(values: Sequence[object]) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerow(values)
        return text.getvalue().encode()


def open_sink(uri: str) -> AbstractContextManager[Sink]:
    """A further sink by its URI.

    ``csv:FILE``; ``nmea-tcp://[HOST]:PORT[?min_score=S]``, which serves NMEA 0183 on loopback
    unless a host is named.

    Raises:
        UsageError: another kind, or a port that is none.
        ResourceError: the port cannot be opened.
    """
    kind, _, rest = uri.partition(":")
    if kind == "csv" and rest:
        return CsvFile(Path(rest.removeprefix("//")))
    if kind == "nmea-tcp":
        parts = urlsplit(uri)
        try:
            port = parts.port
            score = float(parse_qs(parts.query).get("min_score", ["0"])[-1])
        except ValueError:
            port = score = None
        if port is not None and score is not None:
            return NmeaServer(parts.hostname or "127.0.0.1", port, score)
    raise UsageError(
        f"--sink {uri}: expected csv:FILE or nmea-tcp://HOST:PORT, for example "
        "nmea-tcp://127.0.0.1:10110?min_score=0.6"
    )
