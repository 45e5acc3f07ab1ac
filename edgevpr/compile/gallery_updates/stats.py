"""Counts of a gallery: images, bytes, inverted lists, changes."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.gallery_files import INDEX, GalleryFiles
from edgevpr.artifacts.generations import Change, kept
from edgevpr.artifacts.records import GalleryRecord
from edgevpr.retrieval.read_index import read_index


class ExitStats(msgspec.Struct, frozen=True):
    """Search and confidence of one early exit; ``exit`` "full" is the whole path."""

    exit: str
    parameters: str
    #: percent, on the exit's own held-out queries.
    exact_agreement: float
    r1: float | None
    #: percent of them whose place is known; None without a confidence model.
    coverage: float | None


class GalleryStats(msgspec.Struct, frozen=True):
    """Counts of images, bytes on the disk, and how evenly the inverted lists are filled."""

    factory: str
    generation: int
    #: images that answers may name: ``indexed`` + ``added`` - ``removed``.
    images: int
    indexed: int
    added: int
    removed: int
    next_id: int
    #: of the gallery's files; of files that only earlier generations still hold.
    bytes: int
    bytes_of_earlier: int
    #: generations that can be rolled back to.
    earlier: int
    lists: int | None
    #: images in the fullest list, and FAISS's imbalance factor: 1 is even, k means a search looks
    #: at k times as many codes as in even lists.
    largest_list: int | None
    imbalance: float | None
    changes: list[Change]
    #: of galleries tuned for early exits, the full path last.
    exits: list[ExitStats] = []


def stats(gallery: Path) -> GalleryStats:
    """Read a gallery and count."""
    files = GalleryFiles(gallery)
    record, generation = files.record, files.generation
    sizes = _list_sizes(
        read_index(files.index_file, record.faiss_version, shown=files.path / INDEX)
    )
    own = [files.path / name for name in files.artifact.manifest.files]
    earlier = kept(gallery)
    return GalleryStats(
        factory=record.factory,
        generation=generation.number,
        images=int(files.live.sum()),
        indexed=record.count,
        added=generation.added,
        removed=generation.removed,
        next_id=generation.next_id,
        bytes=sum(path.stat().st_size for path in own),
        bytes_of_earlier=_bytes_only_in(earlier, own),
        earlier=len(earlier),
        lists=None if sizes is None else len(sizes),
        largest_list=None if sizes is None else int(sizes.max()),
        imbalance=None
        if sizes is None
        else round(len(sizes) * math.fsum(sizes**2) / max(math.fsum(sizes), 1) ** 2, 3),
        changes=generation.changes,
        exits=_exits(record),
    )


def _exits(record: GalleryRecord) -> list[ExitStats]:
    if not record.exits:
        return []
    paths = [(each.name, each.chosen, each.confidence) for each in record.exits]
    return [
        ExitStats(
            exit=name,
            parameters=chosen.parameters,
            exact_agreement=chosen.exact_agreement,
            r1=chosen.r1,
            coverage=None if fitted is None else fitted.coverage,
        )
        for name, chosen, fitted in [*paths, (FULL, record.chosen, record.confidence)]
    ]


def _list_sizes(index: Any) -> Any:
    import faiss

    try:
        lists: Any = faiss.extract_index_ivf(index).invlists
    except RuntimeError:
        return None
    return np.array([lists.list_size(i) for i in range(lists.nlist)], np.float64)


def _bytes_only_in(folders: list[Path], own: list[Path]) -> int:
    """Files shared through links count once, and not at all if the gallery has them itself."""
    seen = {(f.stat().st_dev, f.stat().st_ino) for f in own}
    total = 0
    for file in (f for folder in folders for f in folder.rglob("*") if f.is_file()):
        status = file.stat()
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            total += status.st_size
    return total
