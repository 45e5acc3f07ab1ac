"""Outputs and atomic writes, scratch folders, released memory maps, the cache folder.

``output_file`` decides what becomes of every file that is written: links are followed, devices and
pipes are written as they are, only plain files are replaced, and never a file that is read.

Files and folders appear whole or not at all: they are written to a hidden sibling and renamed. A
folder's writer holds an advisory lock (flock) on its sibling until it ends. A sibling whose lock is
free was left by a killed run, and the next run that writes to the same place removes it. Process
ids do not tell, because in containers every run tends to have the same one.
"""

import contextlib
import ctypes
import fcntl
import mmap
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevpr.errors import UsageError
from edgevpr.locks import alone

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Links followed before a path is given up as a circle, as Linux does.
_LINKS = 40
#: A folder with one of these is one thing: an artifact, a recording. Nothing else goes into it.
_SEALED = ("manifest.json", "metadata.yaml")


@dataclass(frozen=True)
class Output:
    """Where the bytes of one file go, as ``output_file`` decided."""

    #: links followed, unless it is written through.
    path: Path
    #: a device, a pipe, or a file that this process has open: written as it is, never replaced.
    through: bool = False

    def open_through(self) -> int:
        """A descriptor to write to; of a pipe, once somebody reads it."""
        number = _own_descriptor(self.path)
        if number is not None:
            return os.dup(number)
        return os.open(self.path, os.O_WRONLY | os.O_NOCTTY)


def output_file(
    path: Path | str, inputs: Iterable[Path | str] = (), *, name: str = "out"
) -> Output:
    """The way a file at ``path`` is written; nothing is written yet.

    A link is followed to its end. Character devices, pipes and open files (/dev/stdout, /dev/fd/3)
    are written through. Anything else is a plain file, there or not, to be replaced by a rename.

    Args:
        inputs: files and folders that are read, or just were.
        name: parameter that an error names.

    Raises:
        UsageError: a folder, a disk or a socket; a file that is mounted by itself; an input by
            whatever name, or a file inside an input that is an artifact or a recording, or that is
            there already.
    """
    path = Path(path)
    if _own_descriptor(path) is not None:
        return Output(path, through=True)
    found = _stat(path)
    mode = found.st_mode if found else stat.S_IFREG
    if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
        return Output(path, through=True)
    if not stat.S_ISREG(mode):
        what = {stat.S_IFDIR: "folder", stat.S_IFBLK: "disk"}.get(stat.S_IFMT(mode), "socket")
        raise UsageError(
            f"found the {what} {path}, expected the name of a file to write: add one"
            if what == "folder"
            else f"found the {what} {path}, expected a file, a pipe or a character device to "
            "write: choose another one"
        )
    target = Path(os.path.realpath(path))
    _check_replaceable(target, name)
    for each in inputs:
        if found and _is_same(found, each):
            _refuse(path, f"which is the input {each}", name)
        inside = _stat(Path(each)) and target.is_relative_to(os.path.realpath(each))
        if inside and (found or any((Path(each) / sealed).exists() for sealed in _SEALED)):
            _refuse(path, f"which lies inside the input {each}", name)
    return Output(target)


def check_output_folder(
    path: Path | str,
    inputs: Iterable[Path | str] = (),
    *,
    name: str = "out",
    filled: bool = False,
) -> None:
    """Raise unless a folder may be written to ``path`` without touching what is read.

    Args:
        inputs: files and folders that are read.
        name: parameter that an error names.
        filled: files are put into the folder, where others are replaced as a whole by a rename.

    Raises:
        UsageError: it is, contains or lies inside one of ``inputs``; something is mounted there.
    """
    found, target = _stat(Path(path)), Path(os.path.realpath(path))
    if not filled:
        _check_replaceable(target, name)
    for each in inputs:
        if not _stat(Path(each)):
            continue
        read = Path(os.path.realpath(each))
        if target == read or (found and _is_same(found, each)):
            _refuse(path, f"which is the input {each}", name)
        if target.is_relative_to(read):
            _refuse(path, f"which lies inside the input {each}", name)
        if read.is_relative_to(target):
            _refuse(path, f"which contains the input {each}", name)


def _check_replaceable(path: Path, name: str = "out") -> None:
    """Raise where something is mounted, as containers mount single files and folders.

    No rename can take its place. It would fail when all the work is done.
    """
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return
    # Blanks and backslashes are octal there.
    octal = re.sub(rb"[ \t\n\\]", lambda m: b"\\%03o" % m[0][0], os.fsencode(path))
    if any(line.split()[4] == octal for line in mounts):
        raise UsageError(
            f"found `{name}` {path}, where something is mounted, expected a place that can be "
            "replaced whole: mount the folder above it, or choose a place inside of it"
        )


def _refuse(path: Path | str, why: str, name: str) -> None:
    raise UsageError(
        f"found `{name}` {path}, {why}, expected a place of its own, as what is read is never "
        f"written over: choose another `{name}`"
    )


def _stat(path: Path) -> os.stat_result | None:
    """Of what ``path`` leads to; None where there is nothing."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_same(found: os.stat_result, other: Path | str) -> bool:
    """Whether it is one file or folder with ``other``, by whatever name."""
    there = _stat(Path(other))
    return there is not None and os.path.samestat(found, there)


def _own_descriptor(path: Path) -> int | None:
    """Number of the open file of this process that ``path`` names; None for any other path."""
    at = Path(os.path.abspath(path))
    for _ in range(_LINKS):
        folder = os.path.realpath(at.parent)
        if at.name.isdecimal() and re.fullmatch(rf"/proc/{os.getpid()}(/task/\d+)?/fd", folder):
            return int(at.name)
        at = Path(folder, at.name)
        if not at.is_symlink():
            return None
        at = Path(os.path.normpath(at.parent / at.readlink()))
    return None


def write_atomic(path: Path, data: bytes) -> None:
    """Write one file, through a temporary sibling and a rename where ``output_file`` allows it.

    A file that is replaced hands on its permissions.

    Raises:
        UsageError: a folder, a disk or a socket is at ``path``.
    """
    out = output_file(path)
    if out.through:
        with os.fdopen(out.open_through(), "wb") as stream:
            stream.write(data)
        return
    path = out.path
    path.parent.mkdir(parents=True, exist_ok=True)
    before = _stat(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(stat.S_IMODE(before.st_mode) if before else 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing(path: Path, check: Callable[[], None]) -> Iterator[Path]:
    """Yields a temporary folder to fill; at the end it takes the place of whatever is at ``path``.

    Args:
        path: absolute; a link there is followed.
        check: raises if what is at ``path`` must not be replaced; asked before and after filling.

    Raises:
        UsageError: something is mounted at ``path``.
    """
    check()
    # A link to nothing yet, too: its folder is made where it leads.
    path = path.resolve() if path.is_symlink() else path
    _check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.parent):
        _sweep(path)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{_prefix(path)}{os.getpid()}-"))
        lock = os.open(temporary, os.O_RDONLY)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        temporary.chmod(0o755)
        yield temporary
        with alone(path.parent):
            check()
            _swap_in(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A folder for work files in the system's temporary folder, removed with the block.

    A killed run leaves its folder; the next one with the same prefix removes it.

    Args:
        prefix: begins the name, for people who look there: "edgevpr-export-".
    """
    parent = Path(tempfile.gettempdir())
    # Locked before it has the name that others sweep.
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{prefix}new-"))
    lock = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = folder.rename(parent / f"{prefix}{os.getpid()}-{folder.name.rpartition('-')[2]}")
        _sweep_scratch(parent, prefix)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep_scratch(parent: Path, prefix: str) -> None:
    """Remove what killed runs of this user left in the temporary folder."""
    for left in parent.glob(f"{prefix}*-*"):
        with contextlib.suppress(OSError):  # another run sweeps, too
            if left.lstat().st_uid == os.getuid() and left.is_dir() and _abandoned(left):
                shutil.rmtree(left, ignore_errors=True)


def _swap_in(temporary: Path, path: Path) -> None:
    """Make ``temporary`` the folder at ``path``; the one it replaces ends up at ``temporary``."""
    if not path.exists():
        temporary.rename(path)
    elif not _exchange(temporary, path):
        # A file system without RENAME_EXCHANGE (some network mounts): two renames, the old one
        # kept until the new one stands; _sweep puts it back if this process dies between them.
        aside = temporary.with_name(temporary.name + ".old")
        path.rename(aside)
        try:
            temporary.rename(path)
        except BaseException:
            aside.rename(path)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    _sync_folder(path.parent)


def _exchange(temporary: Path, path: Path) -> bool:
    """Swap two folders in one step; False where the system cannot."""
    at_fdcwd, rename_exchange = -100, 2
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    names = os.fsencode(temporary), os.fsencode(path)
    return bool(libc.renameat2(at_fdcwd, names[0], at_fdcwd, names[1], rename_exchange) == 0)


def _prefix(path: Path) -> str:
    return f".{path.name}.tmp-"


def _sweep(path: Path) -> None:
    """Remove what killed runs left beside ``path``; their caller holds the parent's lock."""
    for left in [p for p in path.parent.iterdir() if p.name.startswith(_prefix(path))]:
        if not _abandoned(left):
            continue
        if left.suffix == ".old" and not path.exists():
            left.rename(path)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _abandoned(left: Path) -> bool:
    """Whether no living process writes to this temporary folder."""
    try:
        handle = os.open(left, os.O_RDONLY)
    except OSError:  # swept by another process
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: the process number in the name must do
        owner = left.name.removesuffix(".old").rpartition("-")[0].rpartition("-")[2]
        return not Path("/proc", owner).exists()
    finally:
        os.close(handle)
    return True


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link to a file at ``target``; a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename outlives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def release(array: "NDArray[Any]") -> None:
    """Give the pages of a memory-mapped file back; they are read again when looked at.

    Any other array, a copy-on-write map among them, stays as it is.
    """
    pages = getattr(array, "_mmap", None)
    shared = getattr(array, "mode", "") in ("r", "r+", "w+")
    if pages is not None and shared and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def cache_folder() -> Path:
    """$EDGEVPR_CACHE, else ``edgevpr`` in the user's cache folder; it need not exist yet."""
    if set_by_user := os.environ.get("EDGEVPR_CACHE"):
        return Path(set_by_user)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgevpr"
