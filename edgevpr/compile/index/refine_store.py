"""Writer of an index whose refine store is larger than memory.

FAISS fills a refine store in memory, where its vector of codes doubles as it grows. Here the codes
go to the file block by block. The file is FAISS's own, to the byte: what ``write_index`` writes for
the index with an empty store, with the codes put in their place.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.compile.index.index_file import writing_index

_REFINE = re.compile(r"^(?P<base>.+),Refine\((?P<store>SQ8|SQfp16)\)$")


def split(factory: str) -> tuple[str, str]:
    """``IVF16,PQ8x4fs,Refine(SQ8)`` -> its base and ``SQ8``; the second empty for any other."""
    found = _REFINE.match(factory)
    return (found["base"], found["store"]) if found else (factory, "")


def train_store(store: str, sample: NDArray[np.float32]) -> Any:
    """An empty scalar quantizer index trained on (n, d) vectors."""
    import faiss

    index = faiss.index_factory(sample.shape[1], store, faiss.METRIC_INNER_PRODUCT)
    index.train(sample)
    return index


def write_refined(base: Any, store: Any, blocks: Iterator[NDArray[np.float32]], path: Path) -> None:
    """Write ``IndexRefine(base, store)`` with ``blocks`` of all (n, d) vectors as its store.

    Raises:
        ResourceError: the disk is full, or ``path`` is not writable.
    """
    import faiss

    store.ntotal = base.ntotal  # of its codes none: they follow below
    refined = faiss.IndexRefine(base, store)
    empty = faiss.serialize_index(store).tobytes()
    with writing_index(path):
        faiss.write_index(refined, str(path))
        with path.open("r+b") as file:
            size = file.seek(0, 2)
            file.seek(max(size - len(empty) - 64, 0))
            tail = file.read()
            at = tail.rfind(empty)
            if at < 0:
                raise RuntimeError("FAISS no longer ends a refined index with its store")
            after = tail[at + len(empty) :]
            file.seek(size - len(after) - 8)  # the length of the codes, 0 so far
            file.write(struct.pack("<Q", base.ntotal * store.sa_code_size()))
            for block in blocks:
                file.write(store.sa_encode(np.ascontiguousarray(block)).tobytes())
            file.write(after)
