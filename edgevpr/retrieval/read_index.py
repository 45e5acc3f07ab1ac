"""Reader of FAISS index files, with one sentence where FAISS cannot read one."""

from pathlib import Path
from typing import Any

from edgevpr.errors import ArtifactVersionError, CorruptArtifactError


def read_index(path: Path, faiss_version: str, *, mapped: bool = True) -> Any:
    """Read a FAISS index.

    Args:
        faiss_version: of the FAISS that wrote it.
        mapped: refine store and plain lists stay pages of the file: two processes share them, and
            only what searches look at is resident. Fast-scan codes FAISS copies. An index that
            will be changed must not be mapped.

    Raises:
        ArtifactVersionError: it needs a newer FAISS than the one installed.
        CorruptArtifactError: it is no index of that version.
    """
    import faiss

    try:
        # a FAISS without that flag reads everything into memory
        flags = getattr(faiss, "IO_FLAG_MMAP_IFC", 0) if mapped else 0
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        if _version(faiss_version) > _version(faiss.__version__):
            raise ArtifactVersionError(
                f"found {path} written by FAISS {faiss_version}, expected one that FAISS "
                f"{faiss.__version__} reads: run pip install 'faiss-cpu>={faiss_version}', or "
                "edgevpr index again on this machine"
            ) from error
        raise CorruptArtifactError(
            f"found {path} unreadable for FAISS {faiss.__version__}, expected an index written by "
            f"FAISS {faiss_version}: write the gallery again with edgevpr index"
        ) from error


def _version(text: str) -> tuple[int, ...]:
    """``1.15.1`` -> (1, 15, 1); what follows the numbers is left out."""
    parts = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)
