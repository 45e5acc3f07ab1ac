"""Manifests of artifacts: kinds, file entries, JSON records, digests, reads that verify.

What an artifact's file gives is checked against the manifest in memory: ``Artifact.bytes`` hashes
the bytes that it returns, ``Artifact.held`` names the very file that was hashed, by its
descriptor, so that another file put in its place meanwhile is never read.
"""

import contextlib
import errno
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from edgevpr.errors import CorruptArtifactError, ResourceError
from edgevpr.files import write_atomic

FORMAT_VERSION = 1


MANIFEST = "manifest.json"


#: The command that writes each kind, for messages.
WRITTEN_BY = {
    "features": "edgevpr embed",
    "model": "edgevpr train",
    "gallery": "edgevpr index",
    "bundle": "edgevpr compile",
    "profile": "edgevpr profile",
    "codebook": "edgevpr codebook",
}

#: Most bytes of a JSON file; the samples of long profiles are a few megabytes.
MOST_JSON = 64 << 20
#: Most bytes of a file that is read into memory whole (2 GiB: what an ONNX graph can have).
MOST_IN_MEMORY = 2 << 30
#: Most bytes of a file's name inside an artifact, and of each part of it.
MOST_NAME, MOST_PART = 1024, 255

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")


class FileEntry(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256 of one file of an artifact."""

    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """``manifest.json`` of an artifact."""

    format: int
    kind: str
    creator: str
    space: str | None
    files: dict[str, FileEntry]
    #: ``digest`` of the rest; the empty string in manifests written before it was kept.
    sha256: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over the other fields: the identity of the whole artifact."""
        fields = {n: getattr(self, n) for n in ("format", "kind", "creator", "space", "files")}
        return hashlib.sha256(msgspec.json.encode(fields, order="sorted")).hexdigest()


class _Descriptors:
    """Open files by name; closed with the last reference to this."""

    def __init__(self) -> None:
        self.by_name: dict[str, int] = {}
        #: size and time of the last writing, as they were before the file was hashed.
        self.stamps: dict[str, tuple[int, int]] = {}

    def keep(self, name: str, descriptor: int, stat: os.stat_result) -> None:
        self.by_name[name], self.stamps[name] = descriptor, _stamp(stat)

    def __del__(self) -> None:
        for descriptor in self.by_name.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _stamp(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


class Artifact(msgspec.Struct, frozen=True):
    """An artifact that has been opened: its folder and its manifest."""

    path: Path
    manifest: Manifest
    #: files that stay open because they may be mapped; see ``held``.
    descriptors: Any = msgspec.field(default_factory=_Descriptors)

    @property
    def space(self) -> str:
        """Descriptor space id; the empty string for an artifact without descriptors."""
        return self.manifest.space or ""

    @property
    def digest(self) -> str:
        """SHA-256 over the manifest: the identity of the whole artifact."""
        return self.manifest.digest

    def file(self, name: str) -> Path:
        """Path of a listed file.

        Raises:
            CorruptArtifactError: the manifest does not list it.
        """
        if name not in self.manifest.files:
            raise CorruptArtifactError(
                f"found no {name} listed in {self.path}, expected one in a {self.manifest.kind} "
                f"artifact: write it again with {WRITTEN_BY.get(self.manifest.kind, 'edgevpr')}"
            )
        return self.path / name

    def bytes(self, name: str, most: int = MOST_IN_MEMORY) -> bytes:
        """Content of a listed file; what is returned is what was hashed.

        Args:
            most: bytes it may have.

        Raises:
            CorruptArtifactError: not listed, missing, too large, or other than the manifest says.
        """
        path, entry = self.file(name), self.manifest.files[name]
        if entry.size > most:
            raise CorruptArtifactError(
                f"found {path} of {entry.size} bytes, expected {most} or fewer: write it again "
                f"with {self.command}"
            )
        descriptor = self._open(name)
        with os.fdopen(descriptor, "rb") as stream:
            data = stream.read(entry.size + 1)
        if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise self._changed(path)
        return data

    def held(self, name: str, *, verify: bool = True) -> Path:
        """A path to a listed file for readers that map it, valid as long as this object.

        It names an open descriptor (/proc/self/fd/N): the file that was hashed, whatever stands
        at its place by now. A file opened by ``open_artifact`` with ``verify`` is not hashed again.

        Raises:
            CorruptArtifactError: not listed, missing, or other than the manifest says.
        """
        path, entry = self.file(name), self.manifest.files[name]
        known = self.descriptors.by_name
        if name not in known:
            descriptor = self._open(name)
            stat = os.fstat(descriptor)
            self.descriptors.keep(name, descriptor, stat)
            if stat.st_size != entry.size or (
                verify and sha256_descriptor(descriptor) != entry.sha256
            ):
                os.close(known.pop(name))
                raise self._changed(path)
        return Path(f"/proc/self/fd/{known[name]}")

    def check_untouched(self, name: str) -> None:
        """Raise where a file that is ``held`` was written to in place since it was hashed.

        Costs a microsecond; where only its time has changed, it is hashed again, once.

        Raises:
            CorruptArtifactError: it was: what is mapped is no longer what was checked.
        """
        descriptor, entry = self.descriptors.by_name[name], self.manifest.files[name]
        stamp = _stamp(os.fstat(descriptor))
        if stamp == self.descriptors.stamps[name]:
            return
        if stamp[0] != entry.size or sha256_descriptor(descriptor) != entry.sha256:
            raise CorruptArtifactError(
                f"found {self.path / name} written over while it was in use, expected files that "
                "stay, as a new folder is put in place by a rename: write or copy it anew, and "
                "start again"
            )
        self.descriptors.stamps[name] = stamp

    def read(self, name: str, type: type[R]) -> R:
        """Read and validate one of the artifact's JSON records."""
        return decode_json(self.path / name, self.bytes(name, MOST_JSON), type)

    @property
    def command(self) -> str:
        """The command that writes this kind, for messages."""
        return WRITTEN_BY.get(self.manifest.kind, "edgevpr")

    def _open(self, name: str) -> int:
        path = self.path / name
        try:
            return open_plain(path)
        except OSError as error:
            raise CorruptArtifactError(
                f"found no readable {name} in {self.path} ({error.strerror}), expected it, as the "
                f"manifest lists it: copy the folder again or write it anew with {self.command}"
            ) from error

    def _changed(self, path: Path) -> CorruptArtifactError:
        return CorruptArtifactError(
            f"found that the content of {path} has changed, expected the SHA-256 in its manifest: "
            f"copy the folder again or write it anew with {self.command}"
        )


def open_plain(path: Path) -> int:
    """A descriptor of a plain file, for reading; never waits for a pipe's other end.

    Raises:
        OSError: it cannot be opened, or is no plain file.
        ResourceError: too many files are open: nothing is wrong with this one.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise ResourceError(
            f"found too many open files to open {path}, expected some left: raise the limit that "
            "ulimit sets"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(22, "not a plain file", str(path))
    return descriptor


def sha256_descriptor(descriptor: int) -> str:
    """Hex SHA-256 of an open file, read in blocks; its position is not used."""
    digest, at = hashlib.sha256(), 0
    while block := os.pread(descriptor, 1 << 20, at):
        digest.update(block)
        at += len(block)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return sha256_descriptor(descriptor)
    finally:
        os.close(descriptor)


def check_names(path: Path, manifest: Manifest, again: str) -> None:
    """Raise unless every file is a plain name below the folder, with a SHA-256.

    Raises:
        CorruptArtifactError: it is not.
    """
    for name, entry in manifest.files.items():
        parts = name.split("/")
        outside = name.startswith("/") or ".." in parts
        sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
        long = max(sizes) > MOST_PART or sum(sizes) + len(sizes) > MOST_NAME
        odd = any(part in ("", ".") for part in parts) or not name.isprintable()
        if outside or long or odd or name == MANIFEST:
            shown = name if len(name) <= 80 and name.isprintable() else f"{name[:60]!r}..."
            raise CorruptArtifactError(
                f"found {shown} in the manifest of {path}, expected only files inside the folder, "
                f"by plain names: {again}"
            )
        if not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
            raise CorruptArtifactError(
                f"found {entry.sha256[:70]!r} as the SHA-256 of {name} in the manifest of {path}, "
                f"expected 64 hexadecimal digits: {again}"
            )


def read_json(path: Path, type: type[R]) -> R:
    """Decode a JSON file into ``type``.

    Raises:
        CorruptArtifactError: it is not JSON, not of that shape, or too large.
    """
    return decode_json(path, read_bounded(path, type), type)


def read_bounded(path: Path, type: type[R]) -> bytes:
    """Bytes of a JSON file, at most ``MOST_JSON``.

    Raises:
        CorruptArtifactError: it cannot be read, or is larger.
    """
    try:
        with os.fdopen(open_plain(path), "rb") as stream:
            data = stream.read(MOST_JSON + 1)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error), type) from error
    if len(data) > MOST_JSON:
        raise _unreadable(path, f"more than {MOST_JSON >> 20} MiB", type)
    return data


def decode_json(path: Path, data: bytes, type: type[T]) -> T:
    """A record of the bytes read from ``path``.

    Raises:
        CorruptArtifactError: not JSON, not of that shape, or nested too deep.
    """
    try:
        return msgspec.json.decode(data, type=type)
    except RecursionError as error:
        raise _unreadable(path, "nested too deep", type) from error
    except (msgspec.DecodeError, ValueError) as error:  # ValueError: UTF-8 among others
        raise _unreadable(path, str(error), type) from error


def _unreadable(path: Path, why: str, type: type) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"found {path} unreadable ({why}), expected a {type.__name__.lstrip('_')}: copy the "
        "folder again or write the artifact anew"
    )


def write_json(path: Path, record: object) -> None:
    """Write a record as indented JSON, atomically."""
    text = msgspec.json.format(msgspec.json.encode(record), indent=2)
    write_atomic(path, text + b"\n")


class AnyVersion(msgspec.Struct):
    """The part of the manifest that every format version keeps."""

    format: int
    kind: str = ""
    creator: str = "?"
