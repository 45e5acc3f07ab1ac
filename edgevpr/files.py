"""Atomic writes of files and folders, scratch folders, released memory maps, the cache folder.

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
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

#: Seconds to wait for another run to finish its swap before going on without its lock.
_PATIENCE_S = 10.0


def write_atomic(path: Path, data: bytes) -> None:
    """Write one file through a temporary sibling and a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing(path: Path, check: Callable[[], None]) -> Iterator[Path]:
    """Yields a temporary folder to fill; at the end it takes the place of whatever is at ``path``.

    Args:
        path: absolute, links resolved.
        check: raises if what is at ``path`` must not be replaced; asked before and after filling.
    """
    check()
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


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold ``folder``'s lock: sweeping, creating and swapping are done by one process at a time.

    Waits a while and then goes on without it, as another program may hold that lock for long; it
    only matters to two runs that end in the same instant.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
            except OSError:  # a file system without locks
                pass
            break
        yield
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename outlives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def release(array: NDArray[Any]) -> None:
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
