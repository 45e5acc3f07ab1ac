"""FAISS index files: writer with one sentence on failure, memory-mapped reader."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgevpr.errors import ResourceError


def read_mapped(path: Path) -> Any:
    """A FAISS index whose plain lists and refine store are pages of ``path``; fast-scan codes FAISS
    copies."""
    import faiss

    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def write_index(index: Any, path: Path) -> None:
    """Write a FAISS index file.

    Raises:
        ResourceError: the disk is full, or ``path`` is not writable.
    """
    import faiss

    with writing_index(path):
        faiss.write_index(index, str(path))


@contextmanager
def writing_index(path: Path) -> Iterator[None]:
    """Failures of FAISS or the system inside become a ResourceError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise ResourceError(
            f"found {path.parent} not writable for the index ({reason(error)}), expected room "
            "there: free some space, or choose another folder for `out`"
        ) from error


def reason(error: Exception) -> str:
    """The sentence at the end of a FAISS error, without its source position."""
    return str(error).rpartition("Error: ")[2].splitlines()[-1].strip().rstrip(".")
