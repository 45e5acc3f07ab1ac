"""Answers as lines of text: JSON on stdout or in a file, CSV."""

import abc
import csv
import io
import sys
from collections.abc import Sequence
from typing import IO

import msgspec

from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.sinks.base import PartFile, WholeRecords
from edgevpr.runtime.sources.frames import Frame


class StandardOutput:
    """One JSON line an answer on stdout, flushed at once.

    ``write`` raises BrokenPipeError when the reader has gone.
    """

    def __init__(self) -> None:
        # Unbuffered where possible, so that no flush can fail again at exit.
        self._stream: IO[bytes] = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        rest = memoryview(msgspec.json.encode(answer) + b"\n")
        while rest:
            rest = rest[self._stream.write(rest) :]


class _LinesFile(PartFile):
    """Whole lines, each handed to the system at once."""

    def open(self) -> None:
        self._lines = WholeRecords(self.stream(), self.part)
        self._lines.write(self.head())

    def head(self) -> bytes:
        """First line of the file."""
        return b""

    @abc.abstractmethod
    def line(self, answer: Answer | FrameError) -> bytes:
        """One answer as a line."""

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        self._lines.write(self.line(answer))

    def close(self) -> None:
        self._lines.close()


class JsonLinesFile(_LinesFile):
    """One JSON line an answer."""

    def line(self, answer: Answer | FrameError) -> bytes:
        return msgspec.json.encode(answer) + b"\n"


#: Columns of a CSV file of answers; "error" is empty where a frame was read, "exit" where the
#: bundle has no early exits.
CSV_COLUMNS = (
    "frame", "source", "time", "place", "lat", "lon", "score", "confidence", "known",
    "frame_age_ms", "total_ms", "error", "exit",
)  # fmt: skip


class CsvFile(_LinesFile):
    """One line an answer, for spreadsheets: the best place, times in ms, and errors."""

    def head(self) -> bytes:
        return self._row(CSV_COLUMNS)

    def line(self, answer: Answer | FrameError) -> bytes:
        if isinstance(answer, FrameError):
            fields: dict[str, object] = {"error": answer.error}
        else:
            fields = {name: getattr(answer, name) for name in CSV_COLUMNS[3:10]}
            fields["total_ms"] = answer.ms.total
            if isinstance(answer.exit, str):
                fields["exit"] = answer.exit
        common = {"frame": answer.frame, "source": answer.source, "time": answer.time}
        row = common | fields
        return self._row(["" if row.get(name) is None else row[name] for name in CSV_COLUMNS])

    @staticmethod
    def _row(values: Sequence[object]) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerow(values)
        return text.getvalue().encode()
