"""Advisory locks (flock) between runs; each ends with its process, however that ends."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

#: Seconds to wait for another run to finish its swap before going on without its lock.
_PATIENCE_S = 10.0


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


@contextlib.contextmanager
def held(file: Path) -> Iterator[bool]:
    """Hold the lock of a file, made when there is none; yields False where another run has it."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        yield True
    finally:
        os.close(handle)
