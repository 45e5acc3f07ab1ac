"""Folder of finished steps that an interrupted ``edgevpr index`` leaves for the next run."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from edgevpr.artifacts.manifest import read_json, write_json
from edgevpr.artifacts.records import OperatingPoint
from edgevpr.compile.index.factories import IndexCandidate
from edgevpr.errors import CorruptArtifactError, UsageError


class _Key(msgspec.Struct, frozen=True):
    """SHA-256 of the inputs that the steps were computed from."""

    inputs: str


class Measured(msgspec.Struct, frozen=True):
    """An index that was built, and its operating points."""

    points: list[OperatingPoint]


class ResumeFolder:
    """A folder of finished steps, each of which is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, name: str, make: Callable[[Path], None]) -> Path:
        """Path of ``name``; ``make`` writes it, to another path, where it is not there yet."""
        path = self.folder / name
        if not path.exists():
            part = self.folder / f"part.{name}"
            make(part)
            part.replace(path)
        return path

    def index(self, candidate: IndexCandidate) -> Path:
        """Path of the index of ``candidate``, whether or not it is there yet."""
        return self.folder / f"{_name(candidate)}.faiss"

    def measured(self, candidate: IndexCandidate, queries: str = "") -> list[OperatingPoint] | None:
        """The operating points of ``candidate``; None where it was not finished.

        Args:
            queries: digest of the features it was measured with; "": those of the full path.
        """
        path = self._points(candidate, queries)
        if not path.exists() or not self.index(candidate).exists():
            return None
        try:
            return read_json(path, Measured).points
        except CorruptArtifactError:
            return None

    def finish(
        self, candidate: IndexCandidate, points: list[OperatingPoint], queries: str = ""
    ) -> None:
        """Keep ``points``: ``candidate`` is done, measured with ``queries``."""
        write_json(self._points(candidate, queries), Measured(points))

    def _points(self, candidate: IndexCandidate, queries: str) -> Path:
        return self.folder / f"{_name(candidate)}{queries and '-' + queries[:16]}.json"

    @property
    def has_indexes(self) -> bool:
        """Whether a candidate was finished, which is what takes the time."""
        return any(self.folder.glob("*.faiss"))


@contextlib.contextmanager
def resume_folder(out: Path, inputs: object) -> Iterator[ResumeFolder]:
    """The folder of finished steps of output ``out``; removed when the block ends well, or when no
    index in it is finished.

    What is there from other ``inputs`` (anything that msgspec encodes) is thrown away.

    Raises:
        UsageError: another run is building the same output.
    """
    folder = out.with_name(f".{out.name}.unfinished")
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"found another edgevpr index building {out}, expected one at a time: wait for it, "
                "or choose another folder for `out`"
            ) from error
        encoded = msgspec.json.encode(inputs, order="sorted")
        key = _Key(hashlib.sha256(encoded).hexdigest())
        if not _same(folder / "inputs.json", key):
            _empty(folder)
            write_json(folder / "inputs.json", key)
        resume = ResumeFolder(folder)
        try:
            yield resume
        except BaseException:
            if not resume.has_indexes:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _same(path: Path, key: _Key) -> bool:
    try:
        return read_json(path, _Key) == key
    except CorruptArtifactError:
        return False


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _name(candidate: IndexCandidate) -> str:
    text = f"{candidate.width} {candidate.factory}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
