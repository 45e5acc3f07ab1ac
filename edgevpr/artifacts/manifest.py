"""Manifests of artifacts: kinds, file entries, JSON records, digests."""

import hashlib
from pathlib import Path
from typing import TypeVar

import msgspec

from edgevpr.errors import (
    CorruptArtifactError,
)
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
}


R = TypeVar("R", bound=msgspec.Struct)


class FileEntry(msgspec.Struct, frozen=True):
    """Size in bytes and SHA-256 of one file of an artifact."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """``manifest.json`` of an artifact."""

    format: int
    kind: str
    creator: str
    space: str | None
    files: dict[str, FileEntry]


class Artifact(msgspec.Struct, frozen=True):
    """An artifact that has been opened: its folder and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def space(self) -> str:
        """Descriptor space id; the empty string for an artifact without descriptors."""
        return self.manifest.space or ""

    @property
    def digest(self) -> str:
        """SHA-256 over the manifest: the identity of the whole artifact."""
        return hashlib.sha256(msgspec.json.encode(self.manifest, order="sorted")).hexdigest()

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

    def read(self, name: str, type: type[R]) -> R:
        """Read and validate one of the artifact's JSON records."""
        return read_json(self.file(name), type)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_json(path: Path, type: type[R]) -> R:
    """Decode a JSON file into ``type``.

    Raises:
        CorruptArtifactError: it is not JSON, or not of that shape.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=type)
    except (msgspec.DecodeError, OSError) as error:
        raise CorruptArtifactError(
            f"found {path} unreadable ({error}), expected a {type.__name__.lstrip('_')}: copy the "
            "folder again or write the artifact anew"
        ) from error


def write_json(path: Path, record: object) -> None:
    """Write a record as indented JSON, atomically."""
    text = msgspec.json.format(msgspec.json.encode(record), indent=2)
    write_atomic(path, text + b"\n")


class AnyVersion(msgspec.Struct):
    """The part of the manifest that every format version keeps."""

    format: int
    kind: str = ""
    creator: str = "?"
