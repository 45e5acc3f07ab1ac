"""Cache of compilation stages, kept by the content of what they were made from.

``$EDGEVPR_CACHE/compile`` (or ``~/.cache/edgevpr/compile``) holds one folder an entry, named by a
hash over everything the entry depends on: digests of inputs, options, versions of packages and the
digest of this package's own code. An entry appears whole or not at all, and one that no longer has
its hashes counts as absent, so the folder is safe to delete, share and interrupt.
"""

import contextlib
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

import edgevpr
from edgevpr.artifacts.manifest import read_json, sha256_file, write_json
from edgevpr.compile.versions import versions
from edgevpr.errors import CorruptArtifactError
from edgevpr.files import replacing

ENTRY = "entry.json"
#: Above this many bytes, entries that were not used for longest go.
LIMIT = 10 << 30
#: Rooms whose code no stage of a compilation imports.
NOT_IN_KEY = ("cli", "city", "demo", "profiles")
R = TypeVar("R", bound=msgspec.Struct)


class _Entry(msgspec.Struct):
    """File name -> SHA-256."""

    files: dict[str, str]


class Cache:
    """Entries under ``folder``; with None nothing is kept and everything is made anew.

    Nothing is kept either where the folder cannot be written to.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = None if folder is None else folder.expanduser().resolve()
        #: kinds of the entries that were found, in order.
        self.found: list[str] = []

    def files(
        self, kind: str, key: Mapping[str, Any], make: Callable[[Path], None], into: Path
    ) -> Path:
        """The folder of an entry's files: the cached one, or ``into``, filled by ``make``.

        Args:
            key: everything the entry depends on, as plain values.
            make: fills an empty folder.
            into: a folder to make it in, of the caller's.
        """
        path = self._path(kind, key)
        if path is not None and _whole(path):
            with contextlib.suppress(OSError):
                os.utime(path / ENTRY)
            self.found.append(kind)
            return path
        into.mkdir(parents=True, exist_ok=True)
        make(into)
        if path is not None:
            with contextlib.suppress(OSError):
                _keep(into, path)
                _trim(path.parent.parent, spare=path)
        return into

    def graph(
        self, kind: str, key: Mapping[str, Any], make: Callable[[], onnx.ModelProto], into: Path
    ) -> onnx.ModelProto:
        """A graph from the cache, or made and kept."""

        def write(folder: Path) -> None:
            onnx.save(make(), str(folder / "model.onnx"))

        # Read back even when just made, so that the first run and the next go on from one thing.
        folder = self.files(kind, key, write, into)
        return onnx.load(str(folder / "model.onnx"))

    def array(
        self, kind: str, key: Mapping[str, Any], make: Callable[[], NDArray[Any]], into: Path
    ) -> NDArray[Any]:
        """An array from the cache, or made and kept."""
        folder = self.files(kind, key, lambda f: np.save(f / "array.npy", make()), into)
        return np.asarray(np.load(folder / "array.npy", allow_pickle=False))

    def record(
        self, kind: str, key: Mapping[str, Any], type: type[R], make: Callable[[], R], into: Path
    ) -> R:
        """A record from the cache, or made and kept."""
        folder = self.files(kind, key, lambda f: write_json(f / "record.json", make()), into)
        return read_json(folder / "record.json", type)

    def _path(self, kind: str, key: Mapping[str, Any]) -> Path | None:
        if self.folder is None:
            return None
        full = {"kind": kind, "code": code_digest(), "versions": versions(), **key}
        content = msgspec.json.encode(full, order="sorted")
        return self.folder / kind / hashlib.sha256(content).hexdigest()[:40]


@functools.cache
def code_digest(package: Path = Path(edgevpr.__file__).parent) -> str:
    """SHA-256 over the code and data that an entry may depend on.

    All modules outside the rooms of ``NOT_IN_KEY``, and the device profiles: which of them takes
    part in which stage is not traced.
    """
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*")):
        path = file.relative_to(package)
        code = file.suffix == ".py" and path.parts[0] not in NOT_IN_KEY
        if code or file.suffix == ".toml":
            digest.update(path.as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def graph_digest(model: onnx.ModelProto) -> str:
    """SHA-256 of a graph."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def array_digest(array: NDArray[Any]) -> str:
    """SHA-256 of an array's type, shape and values."""
    digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _whole(path: Path) -> bool:
    if not (path / ENTRY).is_file():
        return False
    try:
        entry = read_json(path / ENTRY, _Entry)
        return all(sha256_file(path / name) == found for name, found in entry.files.items())
    except (CorruptArtifactError, OSError):
        return False


def _keep(made: Path, path: Path) -> None:
    with replacing(path, check=lambda: None) as folder:
        files = {}
        for file in sorted(made.iterdir()):
            shutil.copyfile(file, folder / file.name)
            files[file.name] = sha256_file(folder / file.name)
        write_json(folder / ENTRY, _Entry(files))


def _trim(folder: Path, spare: Path) -> None:
    """Remove entries, the longest unused first, until the cache is within its limit."""
    entries = []
    for stamp in folder.glob(f"*/*/{ENTRY}"):
        size = sum(file.stat().st_size for file in stamp.parent.iterdir())
        entries.append((stamp.stat().st_mtime, size, stamp.parent))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= LIMIT:
            return
        if path != spare:
            shutil.rmtree(path, ignore_errors=True)
            total -= size
