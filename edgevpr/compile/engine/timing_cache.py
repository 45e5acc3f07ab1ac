"""Timing caches of TensorRT builds, kept per board and release.

TensorRT measures every candidate kernel; a cache makes the next build of a like network several
times shorter. It is only valid for the GPU and the release that measured, which is in its name. The
first 32 bytes of a file are the SHA-256 of the rest: TensorRT is not shown anything else.
"""

import hashlib
import re
from pathlib import Path

from edgevpr.files import cache_folder, write_atomic


def timing_cache_file(board: str, sm: int, version: str) -> Path:
    """Where the cache of one board (or GPU, by name) and TensorRT release is kept."""
    name = re.sub(r"[^a-z0-9.]+", "-", f"{board}-sm{sm}-tensorrt-{version}".lower()).strip("-")
    return cache_folder() / "timing" / f"{name}.cache"


def read_timing_cache(file: Path) -> tuple[bytes, str]:
    """The cache and a remark; empty where there is none, or none that can be used."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return b"", ""
    except OSError as error:
        return b"", f"timing cache {file} cannot be read ({error.strerror}): building without it"
    digest, data = content[:32], content[32:]
    if hashlib.sha256(data).digest() != digest:
        return b"", f"timing cache {file} is damaged: building without it, and writing it anew"
    return data, ""


def write_timing_cache(file: Path, data: bytes) -> str:
    """Keep a cache, atomically; returns a remark where that fails."""
    try:
        write_atomic(file, hashlib.sha256(data).digest() + data)
    except OSError as error:
        return (
            f"timing cache {file} cannot be written ({error.strerror}): the next build takes as "
            "long; set EDGEVPR_CACHE to a folder of your own"
        )
    return ""
