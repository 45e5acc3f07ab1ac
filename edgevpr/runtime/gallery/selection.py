"""Search over some rows of a FAISS index: images not removed, images near a point."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.retrieval.faiss_layers import innermost, store_of

#: Up to so many rows, every one of them is compared.
FEW = 1024

Found = tuple[NDArray[np.float32], NDArray[np.int64]]


class Selection:
    """A search among the rows of ``index`` that ``mask`` allows, for one thread.

    Where ``FEW`` rows are left and the index keeps vectors (flat, scalar quantizer, a re-ranking
    store), these are taken out of it once and compared one by one. Otherwise FAISS asks a
    selector (a bit a row) for every code that it would look at. Lists are probed in the
    proportion in which the selection thins them out, so that about as many allowed codes are
    looked at as in the whole map; for ``FEW`` rows, all lists. Indexes that take no selector
    (flat fast-scan, flat PQ), and graphs, whose recall falls in a thin selection, are searched
    deeper, and rows that are not allowed are left out of the answer.

    Args:
        index: a FAISS index, its search parameters set.
        mask: (ntotal,) allowed rows.
    """

    def __init__(self, index: Any, mask: NDArray[np.bool_]) -> None:
        faiss = _faiss()

        self._index, self._mask = index, mask
        self._parameters: dict[tuple[int, bool], Any] = {}
        self.count = int(mask.sum())
        self._few: tuple[NDArray[np.int64], Any] | None = None
        store = store_of(index)
        if store is not None and 0 < self.count <= FEW and not mask.all():
            rows = np.flatnonzero(mask)
            self._few = rows, faiss.IndexFlatIP(index.d)
            self._few[1].add(store.reconstruct_batch(rows))
            return
        self._bits = np.packbits(mask, bitorder="little")
        self._selector = faiss.IDSelectorBitmap(self._bits)
        self._takes_selectors = takes_selectors(index)

    def search(self, vectors: NDArray[np.float32], k: int) -> Found:
        """(B, k) scores and rows among the allowed, best first; -1 where there are fewer."""
        wanted = min(k, self.count)
        if self.count == len(self._mask):
            return _padded(self._index.search(vectors, wanted), k)
        if wanted == 0:
            return _padded((np.empty((len(vectors), 0), np.float32), _no_rows(len(vectors))), k)
        if self._few is not None:
            rows, vectors_of_them = self._few
            scores, found = vectors_of_them.search(vectors, wanted)
            return _padded((scores, rows[found]), k)
        if not self._takes_selectors:
            return _padded(self._deeper(vectors, wanted), k)
        found = self._selected(vectors, wanted, self.count <= FEW)
        if (found[1][:, -1] < 0).any():  # the lists probed hold too few of them
            found = self._selected(vectors, wanted, True)
        return _padded(found, k)

    def forget_parameters(self) -> None:
        """The index's search parameters were changed."""
        self._parameters = {}

    def _selected(self, vectors: NDArray[np.float32], k: int, every: bool) -> Found:
        parameters = self._parameters.get((k, every))
        if parameters is None:
            thinned = len(self._mask) / self.count
            parameters = _nested(self._index, self._selector, thinned, self.count, k, every)
            self._parameters[k, every] = parameters
        scores, rows = self._index.search(vectors, k, params=parameters)
        return scores, rows

    def _deeper(self, vectors: NDArray[np.float32], k: int) -> Found:
        total = len(self._mask)
        depth = min(2 * math.ceil(k * total / self.count), total)
        while True:
            scores, rows = self._index.search(
                vectors, depth, params=_deep(self._index, depth, total)
            )
            allowed = (rows >= 0) & self._mask[rows]
            if depth == total or (allowed.sum(axis=1) >= k).all():
                break
            depth = min(4 * depth, total)
        first = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
        allowed, rows, scores = (np.take_along_axis(a, first, 1) for a in (allowed, rows, scores))
        lowest = np.finfo(np.float32).min
        return np.where(allowed, scores, lowest), np.where(allowed, rows, -1)


def takes_selectors(index: Any) -> bool:
    """Whether FAISS searches every layer of this index under a selector, reliably."""
    faiss = _faiss()

    leaf = innermost(index)
    if isinstance(leaf, faiss.IndexIVF):
        return True
    flat = isinstance(leaf, faiss.IndexFlatCodes) and not isinstance(leaf, faiss.IndexPQ)
    return flat or isinstance(leaf, faiss.IndexRaBitQ)


def _nested(index: Any, selector: Any, thinned: float, count: int, k: int, every: bool) -> Any:
    """FAISS search parameters for each layer, what the index itself is set to taken over."""
    faiss = _faiss()

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        base = _nested(index.base_index, selector, thinned, count, k, every)
        factor = index.k_factor
        if every:  # of a large selection that is scanned whole, a few are worth re-ranking
            factor = max(factor, min(count, FEW) / k)
        return faiss.IndexRefineSearchParameters(k_factor=float(factor), base_index_params=base)
    if isinstance(index, faiss.IndexPreTransform):
        base = _nested(index.index, selector, thinned, count, k, every)
        return faiss.SearchParametersPreTransform(index_params=base)
    if isinstance(index, faiss.IndexIVF):
        probes = index.nlist if every else min(round(index.nprobe * thinned), index.nlist)
        common = {"sel": selector, "nprobe": int(probes), "max_codes": 0}
        if isinstance(index, faiss.IndexIVFPQ):
            return faiss.IVFPQSearchParameters(**common)
        if isinstance(index, faiss.IndexIVFRaBitQ | faiss.IndexIVFRaBitQFastScan):
            return faiss.IVFRaBitQSearchParameters(**common, qb=index.qb, centered=False)
        return faiss.SearchParametersIVF(**common)
    if isinstance(index, faiss.IndexRaBitQ):
        return faiss.RaBitQSearchParameters(sel=selector, qb=index.qb, centered=index.centered)
    return faiss.SearchParameters(sel=selector)


def _deep(index: Any, depth: int, total: int) -> Any:
    """Parameters for an answer of ``depth`` rows without a selector."""
    faiss = _faiss()

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        factor = max(min(index.k_factor, total / depth), 1.0)
        base = _deep(index.base_index, depth, total)
        return faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=base)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=_deep(index.index, depth, total))
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=max(index.hnsw.efSearch, depth))
    return None


def _padded(found: Found, k: int) -> Found:
    scores, rows = found
    short = k - rows.shape[1]
    if short <= 0:
        return scores, rows
    ends = ((0, 0), (0, short))
    lowest = np.finfo(np.float32).min
    return np.pad(scores, ends, constant_values=lowest), np.pad(rows, ends, constant_values=-1)


def _no_rows(count: int) -> NDArray[np.int64]:
    return np.empty((count, 0), np.int64)


def _faiss() -> Any:
    """FAISS's stubs lag behind what its Python layer adds (keyword arguments of parameters)."""
    import faiss

    return faiss
