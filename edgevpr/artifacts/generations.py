"""Generations of a gallery that changes while robots read it, their history, the writers' lock.

Every change publishes a new generation of the whole folder with one rename; files that stay are
hard links, so the cost is that of the changed files. The generation before is first linked into a
hidden folder beside the gallery, ``.NAME.generations``, where it stays for ``rollback`` until the
gallery is compacted. A generation names its parent by the digest of the parent's manifest;
rollback goes to parents alone.

A killed process leaves the old generation or the new one. A reader keeps what it has opened.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from edgevpr.artifacts.folder import open_artifact, seal
from edgevpr.artifacts.manifest import MANIFEST, Artifact
from edgevpr.artifacts.trust import SIGNATURE
from edgevpr.errors import ArtifactError, ResourceError, UsageError
from edgevpr.files import link_or_copy, replacing

RECORD = "generation.json"


class Drift(msgspec.Struct, frozen=True):
    """Added images against the gallery's own, measured alike (``gallery_updates.drift``)."""

    #: images of each kind that were measured.
    added: int
    own: int
    #: share (percent) of them that the index, as it would be after compacting, finds first.
    added_found: float
    own_found: float
    #: mean squared error of the codes, of unit vectors; None where the index has no codes to
    #: compare with a better store.
    added_error: float | None
    own_error: float | None
    #: the difference is beyond chance and to the disadvantage of the added images.
    retrain: bool


class Change(msgspec.Struct, frozen=True):
    """One change of a gallery, for its journal."""

    verb: str
    #: ISO 8601, UTC.
    time: str
    images: int
    detail: str
    drift: Drift | None = None


class Generation(msgspec.Struct, frozen=True):
    """``generation.json`` of a gallery that was changed after ``edgevpr index`` wrote it.

    Beside it, where there are any: ``added.faiss``, ``added.npy`` (M, d) float16 and
    ``added.csv``, the images added since (rows N to N + M - 1); ``removed.npy``, the rows taken
    out, ascending int64; ``ids.npy``, the stable id of every row (row i has id i without it).
    """

    number: int = 1
    #: digest of the generation this one came from; the empty string for the first.
    parent: str = ""
    #: the next image added gets this id; ids are never used twice.
    next_id: int = 0
    added: int = 0
    removed: int = 0
    changes: list[Change] = []


def generation_of(opened: Artifact, count: int = 0) -> Generation:
    """The generation of an opened gallery; the first, with ``count`` ids, if it has no record."""
    if RECORD not in opened.manifest.files:
        return Generation(next_id=count)
    return opened.read(RECORD, Generation)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Hold the writers' lock of the gallery at ``path``; yields it with links resolved.

    The lock ends with the process that holds it.

    Raises:
        ResourceError: another process is changing this gallery.
    """
    path = Path(path).resolve()
    # Before anything is created beside it.
    open_artifact(path, "gallery", verify=False, trust=False)
    history = _history(path)
    history.mkdir(exist_ok=True)
    handle = os.open(history / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 20, 0).decode(errors="replace").strip()
            raise ResourceError(
                f"found process {owner or '(starting)'} changing {path}, expected no other change "
                "under way: run this again when it has ended"
            ) from None
        except OSError:  # a file system without locks: successor() still sees a replaced gallery
            pass
        os.truncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        for left in history.glob(".tmp-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield path
    finally:
        os.close(handle)


@contextlib.contextmanager
def successor(opened: Artifact, replaces: Collection[str]) -> Iterator[Path]:
    """Yields a folder that holds the files of ``opened``; it becomes the next generation.

    Args:
        opened: the gallery as it is, hashes checked, inside ``writing``.
        replaces: files that are not taken over, because the next generation writes its own or has
            none. All others are links: they must not be written to.

    Raises:
        ArtifactError: another program replaced the gallery meanwhile; nothing is changed.
    """
    gone = {*replaces, SIGNATURE}  # a signature is not of what is to come
    kept = {n: e for n, e in opened.manifest.files.items() if n not in gone}
    with replacing(opened.path, check=lambda: _check_current(opened)) as folder:
        _link(opened.path, folder, kept)
        yield folder
        seal(folder, opened.manifest.kind, opened.manifest.space, kept)
        _keep(opened)


def rollback(path: Path) -> Generation:
    """Put the generation before the current one back in its place, byte for byte.

    Raises:
        UsageError: there is none.
        ArtifactError: it is no longer kept.
    """
    with writing(path) as path:
        opened = open_artifact(path, "gallery", verify=False, trust=False)
        current = generation_of(opened)
        if not current.parent:
            raise UsageError(
                f"found {path} as edgevpr index wrote it, expected a gallery changed since: there "
                "is nothing to roll back"
            )
        parent = _find(path, current.parent)
        if parent is None:
            raise ArtifactError(
                f"found no generation before number {current.number} of {path} in "
                f"{_history(path)}, expected it there until edgevpr gallery compact --keep drops "
                "it: remove what was added with edgevpr gallery remove"
            )
        with replacing(path, check=lambda: _check_current(opened)) as folder:
            _link(parent.path, folder, [*parent.manifest.files, MANIFEST])
        return generation_of(open_artifact(path, "gallery", verify=False, trust=False))


def kept(path: Path) -> list[Path]:
    """Folders of the generations that can be rolled back to, the latest first."""
    path, found = Path(path).resolve(), []
    parent = generation_of(open_artifact(path, "gallery", verify=False, trust=False)).parent
    while parent and (entry := _entry(path, parent)) is not None:
        found.append(entry)
        parent = generation_of(open_artifact(entry, "gallery", verify=False, trust=False)).parent
    return found


def prune(path: Path, keep: int | None = None) -> None:
    """Drop generations that nothing can be rolled back to, and all but the ``keep`` latest.

    Inside ``writing``.
    """
    wanted = kept(path)[:keep]
    for entry in _entries(path):
        if entry not in wanted:
            aside = entry.with_name(f".tmp-{entry.name}")
            entry.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)


def _history(path: Path) -> Path:
    return path.with_name(f".{path.name}.generations")


def _entries(path: Path) -> list[Path]:
    history = _history(path)
    return sorted(p for p in history.glob("[0-9]*-*") if p.is_dir()) if history.is_dir() else []


def _entry(path: Path, digest: str) -> Path | None:
    return next((p for p in _entries(path) if p.name.endswith(f"-{digest[:16]}")), None)


def _find(path: Path, digest: str) -> Artifact | None:
    """A kept generation, hashes checked."""
    entry = _entry(path, digest)
    found = None if entry is None else open_artifact(entry, "gallery", trust=False)
    return found if found is not None and found.digest == digest else None


def _keep(opened: Artifact) -> None:
    """Link a generation into the history, where it appears whole."""
    history, number = _history(opened.path), generation_of(opened).number
    entry = history / f"{number:06d}-{opened.digest[:16]}"
    if entry.exists():
        return
    temporary = Path(tempfile.mkdtemp(dir=history, prefix=".tmp-"))
    try:
        temporary.chmod(0o755)
        _link(opened.path, temporary, [*opened.manifest.files, MANIFEST])
        temporary.rename(entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _link(source: Path, target: Path, names: Collection[str]) -> None:
    """Hard links in ``target`` to files of ``source``; copies where the disk has no links."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(source / name, target / name)


def _check_current(opened: Artifact) -> None:
    current = open_artifact(opened.path, "gallery", verify=False, trust=False)
    if current.digest != opened.digest:
        raise ArtifactError(
            f"found {opened.path} replaced by another program while this one worked, expected it "
            "to stay as it was: run the command again, as nothing was changed"
        )
