"""Inverted lists that are larger than memory: filled shard by shard, merged on disk.

A shard is an index with the codebooks of the whole and some of its vectors, in a file; memory holds
one at a time. They are merged list by list into one file, which is FAISS's own, to the byte: what
``write_index`` writes of the same index filled in memory, and what ``read_mapped`` maps. (FAISS's
``OnDiskInvertedLists`` keeps its lists in a second file, whose path the first one names.)

Only plain lists, one code after the other: those of the fast-scan kinds FAISS copies into memory
whenever it reads them.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.compile.index.index_file import read_mapped, write_index, writing_index
from edgevpr.retrieval.faiss_layers import innermost, layers

#: Memory of the codes and ids of one shard.
SHARD_BYTES = 1 << 28

#: End of the file of an index with empty plain lists: this, the number of lists and the
#: size of a code, "sprs", and that there are no pairs of list and length.
_PLAIN, _END_BYTES = b"ilar", 32


def fill(index: Any, blocks: Iterator[NDArray[np.float32]], count: int, path: Path) -> Any:
    """Add all ``blocks`` of (n, d) vectors to a trained, empty index; row i gets id i.

    Args:
        blocks: parts of ``count`` vectors in order.
        path: where lists that do not fit in ``SHARD_BYTES`` go, with shards beside it.

    Returns:
        ``index`` itself, filled; or, where it has plain inverted lists that do not fit, the same
        one mapped from ``path``.

    Raises:
        ResourceError: the disk is full, or ``path`` is not writable.
    """
    most = _rows(index)
    if count <= most or not _head(index):
        for block in blocks:
            index.add(block)
        return index
    shards: list[Path] = []

    def close() -> None:
        shards.append(path.with_name(f"{path.name}.{len(shards)}"))
        write_index(index, shards[-1])
        index.reset()

    try:
        for block in blocks:
            if index.ntotal and index.ntotal + len(block) > most:
                close()
            index.add(block)
        close()
        merge(index, [read_mapped(shard) for shard in shards], path)
    finally:
        for shard in shards:
            shard.unlink(missing_ok=True)
    return read_mapped(path)


def _rows(index: Any) -> float:
    """Vectors of a shard; no end of them where there are no inverted lists."""
    import faiss

    inner = innermost(index)
    if not isinstance(inner, faiss.IndexIVF):
        return np.inf
    return SHARD_BYTES // (inner.code_size + 8)


def _head(empty: Any) -> bytes:
    """The file of ``empty``, an index without vectors, up to the sizes of its lists.

    Nothing where the file does not end with plain lists.
    """
    import faiss

    written: bytes = faiss.serialize_index(empty).tobytes()
    at = len(written) - _END_BYTES
    return written[: at + 20] if written[at : at + len(_PLAIN)] == _PLAIN else b""


def merge(empty: Any, shards: list[Any], path: Path) -> None:
    """Write the index that holds the vectors of all ``shards`` in order, list by list.

    Args:
        empty: a trained index without vectors, with plain lists; ``shards`` are copies of it with
            vectors, numbered from 0 each.

    Raises:
        ResourceError: the disk is full, or ``path`` is not writable.
    """
    starts = np.cumsum([0, *(shard.ntotal for shard in shards)])
    for layer in layers(empty):
        layer.ntotal = int(starts[-1])
    head = _head(empty)
    empty.reset()
    lists = [innermost(shard).invlists for shard in shards]
    sizes = [sum(own.list_size(n) for own in lists) for n in range(innermost(empty).nlist)]
    with writing_index(path), path.open("wb") as file:
        file.write(head + _sizes(np.array(sizes, np.int64)))
        for number in np.flatnonzero(sizes):
            for own in lists:
                file.write(_codes(own, int(number)).tobytes())
            for own, start in zip(lists, starts, strict=False):
                file.write((_ids(own, int(number)) + start).tobytes())


def _sizes(sizes: NDArray[np.int64]) -> bytes:
    """Of all lists, or of those that are not empty where that is half of them or less."""
    some = np.flatnonzero(sizes)
    name, table = b"full", sizes
    if len(some) <= len(sizes) // 2:
        name, table = b"sprs", np.stack([some, sizes[some]], 1).reshape(-1)
    return name + struct.pack("<Q", len(table)) + table.tobytes()


def _ids(lists: Any, number: int) -> NDArray[np.int64]:
    import faiss

    size = lists.list_size(number)
    found = faiss.rev_swig_ptr(lists.get_ids(number), size) if size else np.empty(0, np.int64)
    return np.asarray(found, np.int64)


def _codes(lists: Any, number: int) -> NDArray[np.uint8]:
    import faiss

    size = lists.list_size(number) * lists.code_size
    found = faiss.rev_swig_ptr(lists.get_codes(number), size) if size else np.empty(0, np.uint8)
    return np.asarray(found, np.uint8)
