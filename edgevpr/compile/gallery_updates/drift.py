"""Drift of a gallery: how often its index finds added images, and its own, as exact search does.

A query is simulated for each image: its descriptor, displaced as held-out queries of the network
that will search were displaced from the images that answer them (``residuals.npy``, saved by
``edgevpr index``; without that file, the descriptor itself). It is found when the index as it
would be after compacting, at the gallery's operating point, gives first what exact search among
the same images gives first. The gallery's own images are measured the same way, with the same
displacements, so that the two shares differ by the codebook alone.

A retrain is advised when the added images are found less often and the difference is significant
in a one-sided test of two proportions at 95%.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.gallery_files import GalleryFiles
from edgevpr.artifacts.generations import Drift
from edgevpr.compile.index.faiss_build import one_thread
from edgevpr.compile.index.residuals import load_residuals
from edgevpr.progress import Track
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.retrieval.faiss_layers import innermost, store_of
from edgevpr.retrieval.projection import l2_normalize

#: Images of each kind that are measured; twice as many narrow the answer by a third.
SAMPLE = 500
#: 95% quantile of the normal distribution.
_Z = 1.645
_BLOCK = 65536


def measure_drift(
    gallery: GalleryFiles, index: Any, added: NDArray[np.float32], track: Track
) -> Drift | None:
    """Compare added with own images; ``index`` holds both afterwards.

    Args:
        gallery: as it is, before ``added`` is published.
        index: its FAISS index, in memory.
        added: (M, d) images already added, then new ones.

    Returns:
        None where the index stores too little of a vector to know what exact search would find.
    """
    import faiss

    store = store_of(index)
    count = index.ntotal
    if store is None or not gallery.live[:count].any():
        return None
    rng = np.random.default_rng(0)
    own_rows = _sample(np.flatnonzero(gallery.live[:count]), rng)
    newer = np.ones(len(added), np.bool_)
    newer[: len(gallery.added)] = gallery.live[count:]
    new_rows = count + _sample(np.flatnonzero(newer), rng)
    with one_thread():
        index.add(added)
        space: Any = faiss.ParameterSpace()
        space.set_index_parameters(index, gallery.record.chosen.parameters)
        residuals = load_residuals(gallery.artifact, added.shape[1])
        rows = np.concatenate([own_rows, new_rows])
        vectors = store.reconstruct_batch(rows)
        # the same displacements for both kinds
        moved = np.concatenate([np.arange(len(own_rows)), np.arange(len(new_rows))])
        queries = l2_normalize(vectors + residuals[moved % len(residuals)])
        best = _exact_best(store, queries, track)
        _, found = index.search(queries, min(SEARCH_DEPTH, index.ntotal))
        similarity = np.einsum("qd,qd->q", queries, store.reconstruct_batch(found[:, 0].clip(0)))
        # 1e-3: the rounding of the store itself
        right = (similarity >= best - 1e-3) & (found[:, 0] >= 0)
        errors = _errors(index, vectors)
    own, new = right[: len(own_rows)], right[len(own_rows) :]
    return Drift(
        added=len(new),
        own=len(own),
        added_found=round(100.0 * float(new.mean()), 2),
        own_found=round(100.0 * float(own.mean()), 2),
        added_error=None if errors is None else round(float(errors[len(own) :].mean()), 5),
        own_error=None if errors is None else round(float(errors[: len(own)].mean()), 5),
        retrain=worse(int(new.sum()), len(new), int(own.sum()), len(own)),
    )


def worse(found: int, of: int, own_found: int, own_of: int) -> bool:
    """Whether the first share is below the second, significant at 95%."""
    share = (found + own_found) / (of + own_of)
    spread = math.sqrt(share * (1 - share) * (1 / of + 1 / own_of))
    return own_found / own_of - found / of > _Z * spread


def _sample(rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    if len(rows) <= SAMPLE:
        return rows
    return np.sort(rng.choice(rows, SAMPLE, replace=False))


def _exact_best(store: Any, queries: NDArray[np.float32], track: Track) -> NDArray[np.float32]:
    """(Q,) the largest similarity among all vectors of the store."""
    best = np.full(len(queries), -np.inf, np.float32)
    starts = range(0, store.ntotal, _BLOCK)
    for start in track(starts, "exact search for reference", len(starts)):
        block = store.reconstruct_n(start, min(_BLOCK, store.ntotal - start))
        np.maximum(best, (queries @ block.T).max(axis=1), out=best)
    return best


def _errors(index: Any, vectors: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """(n,) squared distance of each vector from what its code stands for; None: no codes."""
    import faiss

    base = faiss.downcast_index(getattr(index, "base_index", index))
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVFPQFastScan):
        decoder: Any = inner
        decoder.fine_quantizer = inner.pq  # FAISS 1.15 does not set it on reading, and crashes
    try:
        codes = base.sa_decode(base.sa_encode(vectors))
    except RuntimeError:
        return None
    return np.asarray(((codes - vectors) ** 2).sum(axis=1), np.float32)
