"""Writer and opener of artifact folders.

An artifact is a folder with a ``manifest.json`` that lists every other file with its size and
SHA-256. It is written to a hidden sibling and swapped in with one rename (``edgevpr.files``): a
reader finds the old folder or the new one.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from edgevpr import __version__
from edgevpr.artifacts.contract import check_contract
from edgevpr.artifacts.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    WRITTEN_BY,
    AnyVersion,
    Artifact,
    FileEntry,
    Manifest,
    check_names,
    decode_json,
    open_plain,
    read_bounded,
    sha256_descriptor,
    sha256_file,
    write_json,
)
from edgevpr.artifacts.policy import SIGNED_KINDS, trusted_keys_file
from edgevpr.errors import (
    ArtifactError,
    ArtifactKindError,
    ArtifactVersionError,
    CorruptArtifactError,
    DataError,
    ResourceError,
    UsageError,
)
from edgevpr.files import replacing

T = TypeVar("T")
#: How often an artifact is read again because it was replaced while it was being read.
_TRIES = 5


@contextlib.contextmanager
def write_artifact(path: Path, kind: str, *, space: str | None = None) -> Iterator[Path]:
    """Write an artifact: yields a temporary folder to fill, which becomes ``path`` at the end.

    An artifact of the same kind already at ``path`` is replaced as a whole when the block ends
    well, and kept when it raises. If two runs write to one place, the one that ends last stays.
    A symbolic link at ``path`` is followed.

    Raises:
        UsageError: ``path`` holds anything else; nothing of it is touched.
    """
    path = Path(path).resolve()
    with replacing(path, check=lambda: _refuse_to_replace(path, kind)) as temporary:
        yield temporary
        seal(temporary, kind, space)


def identity(path: Path) -> tuple[int, ...]:
    """Changes when the artifact at ``path`` is replaced; cheap enough to ask every second."""
    try:
        folder, manifest = path.stat(), (path / MANIFEST).stat()
    except OSError:
        return ()
    return folder.st_dev, folder.st_ino, manifest.st_ino, manifest.st_mtime_ns


def settled(path: Path, read: Callable[[], T]) -> T:
    """What ``read`` makes of the artifact at ``path``, all of it of one generation.

    Who reads files by their names while another one takes the folder's place finds some of them
    gone, or of both: it is read again then, and what went wrong is not told.

    Raises:
        ResourceError: it was replaced each time.
        EdgeVPRError, OSError: what ``read`` raises about an artifact that stayed.
    """
    for _ in range(_TRIES):
        before = identity(path)
        try:
            found = read()
        except (ArtifactError, DataError, OSError):
            if identity(path) == before:
                raise
            continue
        if identity(path) == before:
            return found
    raise ResourceError(
        f"found {path} replaced {_TRIES} times while it was being opened, expected it to stay for "
        "a moment: run this again when nothing changes it any more"
    )


#: Endings of files that are mapped: they stay open from the check to the reading.
MAPPED = (".faiss", ".npy")


def open_artifact(path: Path, kind: str, *, verify: bool = True, trust: bool = True) -> Artifact:
    """Open an artifact and check what it claims.

    Args:
        path: its folder.
        kind: the kind expected.
        verify: hash every file (sizes are always checked).
        trust: refuse bundles and galleries that break the policy of trusted keys
            (``edgevpr.artifacts.trust``), where there is one.

    Raises:
        DataError: there is no such folder, or it is no artifact.
        ArtifactKindError: it is another kind.
        ArtifactVersionError: another format version wrote it.
        CorruptArtifactError: the manifest does not read, a file is missing, truncated, changed,
            or listed outside the folder, records contradict each other, or the artifact is not
            signed as EDGEVPR_TRUSTED_KEYS asks.
        ResourceError: it was replaced again and again meanwhile.
    """
    path = Path(path)
    return settled(path, functools.partial(_open, path, kind, verify=verify, trust=trust))


def _open(path: Path, kind: str, *, verify: bool, trust: bool) -> Artifact:
    manifest_path = path / MANIFEST
    command = WRITTEN_BY.get(kind, "edgevpr")
    again = f"copy the folder again or write it anew with {command}"
    if not manifest_path.is_file():
        found = "an ordinary folder" if path.is_dir() else "nothing"
        raise DataError(
            f"found {found} at {path}, expected a {kind} artifact (a folder with a "
            f"{MANIFEST}): write one with {command}"
        )
    data = read_bounded(manifest_path, Manifest)
    version = decode_json(manifest_path, data, AnyVersion)
    if version.format != FORMAT_VERSION:
        raise ArtifactVersionError(
            f"found format {version.format} in {path} (written by edgevpr {version.creator}), "
            f"expected format {FORMAT_VERSION}, which edgevpr {__version__} reads: write it again "
            f"with {WRITTEN_BY.get(version.kind, 'edgevpr')}, or install the other version"
        )
    manifest = decode_json(manifest_path, data, Manifest)
    if manifest.kind != kind:
        raise ArtifactKindError(
            f"found a {manifest.kind} artifact at {path}, expected a {kind}: pass the folder "
            f"written by {command}"
        )
    check_names(path, manifest, again)
    if manifest.sha256 and manifest.sha256 != manifest.digest:
        raise CorruptArtifactError(
            f"found that {manifest_path} has changed, expected the SHA-256 of itself that it "
            f"holds: {again}"
        )
    opened = Artifact(path, manifest)
    for name, entry in manifest.files.items():
        _check_file(opened, name, entry, again, verify=verify)
    check_contract(opened)
    policy = trusted_keys_file()
    if trust and policy is not None and kind in SIGNED_KINDS:
        from edgevpr.artifacts.trust import check_trusted

        check_trusted(opened, policy, note=True)
    return opened


def _check_file(opened: Artifact, name: str, entry: FileEntry, again: str, *, verify: bool) -> None:
    """Check that a file is there, whole and unchanged; keep it open if it may be mapped."""
    path, file = opened.path, opened.path / name
    try:
        descriptor = open_plain(file)
    except OSError as error:
        found = f"no {name} in {path}" if not file.is_file() else f"{file}, {error.strerror}"
        raise CorruptArtifactError(
            f"found {found}, expected it, as the manifest lists it: {again}"
        ) from error
    keep = False
    try:
        stat = os.fstat(descriptor)
        if stat.st_size != entry.size:
            raise CorruptArtifactError(
                f"found {file}, truncated or edited, of {stat.st_size} bytes, expected "
                f"{entry.size}: {again}"
            )
        if verify and sha256_descriptor(descriptor) != entry.sha256:
            raise CorruptArtifactError(
                f"found that the content of {file} has changed, expected the SHA-256 in its "
                f"manifest: {again}"
            )
        keep = verify and file.suffix in MAPPED
        if keep:
            opened.descriptors.keep(name, descriptor, stat)
    finally:
        if not keep:
            os.close(descriptor)


def seal(
    folder: Path, kind: str, space: str | None, known: Mapping[str, FileEntry] | None = None
) -> None:
    """Flush every file of ``folder`` to the disk and write its manifest.

    Args:
        known: entries of files that are links to those of an artifact whose hashes were checked;
            they are not read again.
    """
    known = known or {}
    files = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = file.relative_to(folder).as_posix()
        if name in known:
            files[name] = known[name]
            continue
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        files[name] = FileEntry(size=file.stat().st_size, sha256=sha256_file(file))
    manifest = Manifest(
        format=FORMAT_VERSION, kind=kind, creator=__version__, space=space, files=files
    )
    write_json(folder / MANIFEST, msgspec.structs.replace(manifest, sha256=manifest.digest))


def _refuse_to_replace(path: Path, kind: str) -> None:
    """Raise unless ``path`` is free, an empty folder, or an artifact of this kind."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        found = msgspec.json.decode((path / MANIFEST).read_bytes(), type=AnyVersion).kind
    except (OSError, msgspec.DecodeError):
        found = ""
    if found == kind:
        return
    what = f"a {found} artifact" if found in WRITTEN_BY else "something edgevpr did not write"
    raise UsageError(
        f"found {what} at {path}, left as it was, expected a free place or a {kind} artifact to "
        "replace: choose another folder for `out`"
    )
