"""Inverted lists that are larger than memory: filled shard by shard, merged on disk.

A shard is an index with the codebooks of the whole and some of its vectors, in a file; memory holds
one at a time. They are merged list by list into one file, which is FAISS's own, to the byte: what
``write_index`` writes of the same index filled in memory. FAISS merges lists on disk only in the
plain layout (``OnDiskInvertedLists``); the fast-scan kinds keep codes in blocks of 32.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgevpr.compile.index_file import read_mapped, write_index, writing_index
from edgevpr.layers import innermost, layers

#: What the codes and ids of one shard may take in memory.
SHARD_BYTES = 1 << 28

_PLAIN, _BLOCKS = b"ilar", b"ilbl"


def fill(index: Any, blocks: Iterator[NDArray[np.float32]], count: int, path: Path) -> Any:
    """Add all ``blocks`` of (n, d) vectors to a trained, empty index; row i gets id i.

    Args:
        blocks: parts of ``count`` vectors in order.
        path: where lists that do not fit in ``SHARD_BYTES`` go, with shards beside it.

    Returns:
        ``index`` itself, filled; or, where its inverted lists do not fit, the same one mapped from
        ``path``. Kinds whose file does not end with inverted lists stay in memory.

    Raises:
        ResourceError: the disk is full, or ``path`` is not writable.
    """
    most = _rows(index)
    if count <= most or _layout(index) is None:
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


class _Layout(NamedTuple):
    """How a file goes on with its inverted lists."""

    #: the file of the empty index up to where lists of another size differ.
    head: bytes
    #: packs codes in blocks; None where they lie one after the other.
    packer: Any


def _layout(empty: Any) -> _Layout | None:
    """None where the file of ``empty``, an index without vectors, does not end with its lists."""
    import faiss

    written = faiss.serialize_index(empty).tobytes()
    inner = innermost(empty)
    at = written.rfind(_PLAIN)
    if at >= 0 and len(written) - at == 32:  # a name, two numbers, "sprs" and no pairs
        return _Layout(written[: at + 20], None)
    at = written.rfind(_BLOCKS)
    if at >= 0 and len(written) - at == 36 + 16 * inner.nlist:  # a name, four numbers, two a list
        return _Layout(written[: at + 36], inner.get_CodePacker())
    return None


def merge(empty: Any, shards: list[Any], path: Path) -> None:
    """Write the index that holds the vectors of all ``shards`` in order, list by list.

    Args:
        empty: a trained index without vectors, with inverted lists; ``shards`` are copies of it
            with vectors, numbered from 0 each.

    Raises:
        ResourceError: the disk is full, or ``path`` is not writable.
    """
    starts = np.cumsum([0, *(shard.ntotal for shard in shards)])
    for layer in layers(empty):
        layer.ntotal = int(starts[-1])
    layout = _layout(empty)
    assert layout is not None
    empty.reset()
    inner = [innermost(shard) for shard in shards]
    lists = innermost(empty).nlist
    with writing_index(path), path.open("wb") as file:
        file.write(layout.head)
        if layout.packer is None:
            sizes = [sum(i.invlists.list_size(n) for i in inner) for n in range(lists)]
            file.write(_sizes(np.array(sizes, np.int64)))
        for number in range(lists):
            ids = np.concatenate(
                [_ids(i, number) + start for i, start in zip(inner, starts, strict=False)]
            )
            codes = np.concatenate([_codes(i, number) for i in inner])
            if layout.packer is None:
                file.write(codes.tobytes() + ids.tobytes())
            else:
                packed = _packed(layout.packer, codes)
                file.write(struct.pack("<Q", len(ids)) + ids.tobytes())
                file.write(struct.pack("<Q", len(packed)) + packed.tobytes())


def _sizes(sizes: NDArray[np.int64]) -> bytes:
    """Of all plain lists, or of those that are not empty where that is half of them or less."""
    some = np.flatnonzero(sizes)
    name, table = b"full", sizes
    if len(some) <= len(sizes) // 2:
        name, table = b"sprs", np.stack([some, sizes[some]], 1).reshape(-1)
    return name + struct.pack("<Q", len(table)) + table.tobytes()


def _ids(index: Any, number: int) -> NDArray[np.int64]:
    import faiss

    size = index.invlists.list_size(number)
    if not size:
        return np.empty(0, np.int64)
    return faiss.rev_swig_ptr(index.invlists.get_ids(number), size).copy()  # type: ignore[no-any-return]


def _codes(index: Any, number: int) -> NDArray[np.uint8]:
    """(n, code size) codes of a list, one after the other, whatever its layout."""
    import faiss

    size, width = index.invlists.list_size(number), index.code_size
    if not size:
        return np.empty((0, width), np.uint8)
    pointer = index.invlists.get_codes(number)
    if not isinstance(index, faiss.IndexIVFFastScan):
        return faiss.rev_swig_ptr(pointer, size * width).reshape(size, width).copy()  # type: ignore[no-any-return]
    packer = index.get_CodePacker()
    packed = faiss.rev_swig_ptr(pointer, -(-size // packer.nvec) * packer.block_size)
    packed = packed.reshape(-1, packer.block_size)
    codes = np.zeros((len(packed) * packer.nvec, width), np.uint8)
    for i, block in enumerate(packed):
        packer.unpack_all(faiss.swig_ptr(block), faiss.swig_ptr(codes[i * packer.nvec :]))
    return codes[:size]


def _packed(packer: Any, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, code size) codes as whole blocks, the last one filled up with zeros."""
    import faiss

    blocks = -(-len(codes) // packer.nvec)
    padded = np.zeros((blocks * packer.nvec, packer.code_size), np.uint8)
    padded[: len(codes)] = codes
    packed = np.zeros((blocks, packer.block_size), np.uint8)
    for i, block in enumerate(packed):
        packer.pack_all(faiss.swig_ptr(padded[i * packer.nvec :]), faiss.swig_ptr(block))
    return packed.reshape(-1)
