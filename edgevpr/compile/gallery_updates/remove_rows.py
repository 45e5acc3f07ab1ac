"""Removal of rows from a FAISS index, codes and codebooks kept as they are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import UsageError
from edgevpr.retrieval.faiss_layers import layers


def drop_rows(index: Any, live: NDArray[np.bool_]) -> None:
    """Keep the rows that ``live`` (ntotal,) names, in their order, numbered from 0 again.

    Nothing is encoded anew, so the answers are those of before; adding to the index afterwards
    gives each vector the next number.

    Raises:
        UsageError: this kind of index cannot lose rows.
    """
    import faiss

    dropped = np.flatnonzero(~live).astype(np.int64)
    if not len(dropped):
        return
    count = int(live.sum())
    numbers = np.cumsum(live) - 1
    for layer in layers(index):
        if isinstance(layer, faiss.IndexRefine | faiss.IndexPreTransform):
            layer.ntotal = count
        elif isinstance(layer, faiss.IndexFastScan):
            _encode_again(layer, live)
        else:
            try:
                layer.remove_ids(faiss.IDSelectorBatch(dropped))
            except RuntimeError as error:
                raise UsageError(
                    f"found a {type(layer).__name__}, which FAISS cannot take rows out of, "
                    "expected an index that can lose some: run edgevpr gallery compact GALLERY "
                    "--retrain FEATURES"
                ) from error
            if isinstance(layer, faiss.IndexIVF):
                _renumber(layer, numbers)


def _renumber(index: Any, numbers: NDArray[np.int64]) -> None:
    """Give the codes left in inverted lists their new numbers."""
    import faiss

    fast_scan = isinstance(index, faiss.IndexIVFFastScan)
    packer = index.get_CodePacker() if fast_scan else None
    for i in range(index.nlist):
        size = index.invlists.list_size(i)
        if not size:
            continue
        pointer = index.invlists.get_ids(i)
        ids = faiss.rev_swig_ptr(pointer, size)
        ids[:] = numbers[ids]
        index.invlists.release_ids(i, pointer)
        if packer is not None and size % packer.nvec:
            _clear_end(index.invlists, i, size, packer)


def _clear_end(lists: Any, i: int, size: int, packer: Any) -> None:
    """Zero what removed codes left behind the last one of a list.

    FAISS 1.15.1 packs codes in blocks and adds to a block begun by OR-ing bits into it: over
    bits left there, the new codes would be wrong.
    """
    import faiss

    blocks = -(-size // packer.nvec)
    pointer = lists.get_codes(i)
    last = faiss.rev_swig_ptr(pointer, blocks * packer.block_size)[-packer.block_size :]
    codes = np.zeros((packer.nvec, packer.code_size), np.uint8)
    packer.unpack_all(faiss.swig_ptr(last), faiss.swig_ptr(codes))
    codes[size % packer.nvec :] = 0
    last[:] = 0
    packer.pack_all(faiss.swig_ptr(codes), faiss.swig_ptr(last))
    lists.release_codes(i, pointer)


def _encode_again(index: Any, live: NDArray[np.bool_]) -> None:
    """Flat fast-scan: decoded and encoded by one codebook, a code stays the same code."""
    vectors = index.reconstruct_n(0, index.ntotal)[live]
    index.reset()
    index.add(vectors)
