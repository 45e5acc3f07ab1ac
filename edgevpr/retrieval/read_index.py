"""Reader of FAISS index files, with one sentence where FAISS cannot read one."""

from pathlib import Path
from typing import Any

import numpy as np

from edgevpr.errors import ArtifactVersionError, CorruptArtifactError
from edgevpr.retrieval.faiss_layers import innermost


def read_index(
    path: Path,
    faiss_version: str,
    *,
    mapped: bool = True,
    shown: Path | None = None,
    rows: int | None = None,
) -> Any:
    """Read a FAISS index.

    Args:
        faiss_version: of the FAISS that wrote it.
        mapped: refine store and plain lists stay pages of the file: two processes share them, and
            only what searches look at is resident. Fast-scan codes FAISS copies. An index that
            will be changed must not be mapped.
        shown: the path in messages, where ``path`` names a descriptor.
        rows: raise unless the ids of inverted lists are those of so many rows, each once.

    Raises:
        ArtifactVersionError: it needs a newer FAISS than the one installed.
        CorruptArtifactError: it is no index of that version.
    """
    import faiss

    shown = shown or path
    try:
        # a FAISS without that flag reads everything into memory
        flags = getattr(faiss, "IO_FLAG_MMAP_IFC", 0) if mapped else 0
        index = faiss.read_index(str(path), flags)
    except (RuntimeError, MemoryError, ValueError) as error:
        if _version(faiss_version) > _version(faiss.__version__):
            raise ArtifactVersionError(
                f"found {shown} written by FAISS {faiss_version}, expected one that FAISS "
                f"{faiss.__version__} reads: run pip install 'faiss-cpu>={faiss_version}', or "
                "edgevpr index again on this machine"
            ) from error
        raise CorruptArtifactError(
            f"found {shown} unreadable for FAISS {faiss.__version__}, expected an index written by "
            f"FAISS {faiss_version}: write the gallery again with edgevpr index"
        ) from error
    if rows is not None:
        _check_ids(index, shown, rows)
    return index


def _check_ids(index: Any, shown: Path, rows: int) -> None:
    """Raise unless the inverted lists hold the ids 0 to rows - 1, each once."""
    import faiss

    inverted = innermost(index)
    if not isinstance(inverted, faiss.IndexIVF):
        return
    found: Any = inverted.invlists
    lists: Any = faiss.downcast_InvertedLists(found)
    seen = np.zeros(rows, np.bool_)
    total = 0
    for number in range(lists.nlist):
        size = lists.list_size(number)
        if not size:
            continue
        pointer = lists.get_ids(number)
        ids = faiss.rev_swig_ptr(pointer, size)
        if ids.min() < 0 or ids.max() >= rows:
            total = -1
            break
        seen[ids] = True
        total += size
        lists.release_ids(number, pointer)
    if total != rows or not seen.all():
        raise CorruptArtifactError(
            f"found ids in the lists of {shown} that are not those of its {rows} images, expected "
            "each once: write the gallery again with edgevpr index"
        )


def _version(text: str) -> tuple[int, ...]:
    """``1.15.1`` -> (1, 15, 1); what follows the numbers is left out."""
    parts = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)
