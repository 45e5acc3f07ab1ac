"""Cache of the kernels that TensorRT-RTX compiled for this GPU.

An RTX engine holds kernels in a portable form; the library compiles them for the GPU when a context
is made, which takes seconds each time without this cache.
"""

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from edgevpr.files import cache_folder, write_atomic


def cache_path(engine_sha256: str, version: str, gpu: str) -> Path:
    """One file for each engine, library version and GPU."""
    key = hashlib.sha256("\n".join((engine_sha256, version, gpu)).encode()).hexdigest()
    return cache_folder() / f"rtx-{key[:16]}.bin"


def load(config: Any, path: Path) -> Any:
    """The runtime's ``IRuntimeCache``, set in ``config``; empty where no good file is there."""
    cache = config.create_runtime_cache()
    with contextlib.suppress(OSError):
        # False for a file it cannot use: it compiles anew, and ``save`` replaces the file.
        cache.deserialize(path.read_bytes())
    config.set_runtime_cache(cache)
    return cache


def save(cache: Any, path: Path) -> None:
    """Write the cache if it changed; a disk that is full or read-only is no error."""
    with contextlib.suppress(OSError):
        data = bytes(cache.serialize())
        if not path.exists() or path.read_bytes() != data:
            write_atomic(path, data)
