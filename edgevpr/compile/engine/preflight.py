"""Checks before a build: room on the disk, memory, folders that can be written to."""

import os
import shutil
from pathlib import Path

from edgevpr.artifacts.manifest import Artifact
from edgevpr.compile.engine.builder import WORKSPACE_LEAST
from edgevpr.device.cpu import free_memory
from edgevpr.errors import ResourceError
from edgevpr.files import cache_folder

#: Memory a builder needs beside its workspace: libraries and kernels, and the graph's weights as
#: read, as rearranged and in the engine.
LIBRARIES, COPIES = 512 << 20, 3


def check_room(bundle: Artifact) -> None:
    """Raise ResourceError where the finished bundle could not be written."""
    parent = bundle.path.resolve().parent
    if not os.access(parent, os.W_OK):
        raise ResourceError(
            f"found {parent}, which this user cannot write to, expected to put the engine there: "
            "copy the bundle to a folder of your own and run edgevpr build BUNDLE again"
        )
    size = sum(entry.size for entry in bundle.manifest.files.values())
    need, free = 2 * size + (64 << 20), shutil.disk_usage(parent).free
    if free < need:
        raise ResourceError(
            f"found {free >> 20} MiB free in {parent}, expected {need >> 20} MiB for the bundle "
            "with its engine: free some and run edgevpr build BUNDLE again"
        )


def check_memory(graph_bytes: int) -> None:
    """Raise ResourceError where the kernel would kill a builder for memory.

    Args:
        graph_bytes: size of the graph with its weights.
    """
    need = LIBRARIES + WORKSPACE_LEAST + COPIES * graph_bytes
    free = free_memory()
    if free < need:
        raise ResourceError(
            f"found {free >> 20} MiB of memory free, expected {need >> 20} MiB to build this "
            "network: stop other programs (on a Jetson the desktop: sudo systemctl isolate "
            "multi-user.target) and run edgevpr build BUNDLE again"
        )


def check_cache() -> str:
    """A remark where timing caches cannot be kept; the empty string where they can."""
    folder = cache_folder() / "timing"
    there = next(p for p in (folder, *folder.parents) if p.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        return ""
    return (
        f"{there} is not a folder this user can write to: no timing cache is kept, and the next "
        "build takes as long; set EDGEVPR_CACHE to a folder of your own"
    )


def size_of(bundle: Artifact, graph: Path) -> int:
    """Bytes of a graph file with the weights it may share with others."""
    beside = graph.relative_to(bundle.path).parent / "weights.bin"
    shared = bundle.manifest.files.get(beside.as_posix())
    return graph.stat().st_size + (shared.size if shared else 0)
