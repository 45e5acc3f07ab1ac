"""Training, filling and writing of a FAISS index.

The metric is always the inner product of unit vectors, so scores are cosine similarities. For a
quantized index it is also the cheaper choice: its lookup tables depend on the query alone, where
L2 over residuals keeps a table per inverted list (33 MB for 512 lists of PQ64x8).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.compile.index.factories import POINTS_PER_CENTROID, choose_factory
from edgevpr.compile.index.index_file import read_mapped, reason, write_index
from edgevpr.compile.index.inverted_lists import fill
from edgevpr.compile.index.refine_store import split, train_store, write_refined
from edgevpr.errors import DataError, UsageError
from edgevpr.files import release
from edgevpr.printable import counted
from edgevpr.progress import Track, silent

_CHUNK = 65536
#: Memory of the training sample, float32; never fewer than 39 points a list.
SAMPLE_BYTES = 1 << 28
#: Rounds of OPQ training; FAISS does 50, which takes minutes at 256 dimensions.
_OPQ_ROUNDS = 10


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS on one thread inside the block: repeatable training, and single queries that do not
    wait for a team of threads."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def build_file(
    vectors: NDArray[np.float32],
    factory: str,
    path: Path,
    *,
    seed: int = 0,
    track: Track = silent,
) -> Any:
    """``build_index`` written to ``path``; what is larger than memory goes to files as it is made.

    Args:
        vectors: (N, d) float32, a memory map for galleries larger than memory.

    Returns:
        the index, memory-mapped from ``path``.

    Raises:
        ResourceError: the disk is full, or ``path`` is not writable.
    """
    base, store = split(factory)
    lists = path.with_name(f"{path.name}.lists")
    try:
        index = build_index(vectors, base, seed=seed, track=track, asked=factory, lists=lists)
        if store:
            with one_thread():
                quantizer = train_store(store, _sample(vectors, 65536, seed))
                write_refined(index, quantizer, blocks(vectors), path)
        else:
            write_index(index, path)
    finally:
        lists.unlink(missing_ok=True)
    return read_mapped(path)


def build_index(
    vectors: NDArray[np.float32],
    factory: str,
    *,
    seed: int = 0,
    track: Track = silent,
    asked: str = "",
    lists: Path | None = None,
) -> Any:
    """Train ``factory`` on (N, d) unit vectors and add them all; row i gets id i.

    The same vectors, factory, seed and FAISS version give the same index, to the byte. ``asked``
    is the factory string as the user knows it, for messages, where ``factory`` is a part of it.
    Inverted lists that are too large for memory go to a file at ``lists``, if that is given, and
    the index has them mapped from there.

    Raises:
        UsageError: FAISS does not accept the factory string for this width.
        DataError: too few vectors to train it.
    """
    import faiss

    count, width = vectors.shape
    asked = asked or factory
    try:
        index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise UsageError(
            f"found `factory` {asked!r}, which FAISS {faiss.__version__} does not accept for "
            f"{width} dimensions and inner products ({reason(error)}), expected a factory string "
            f"such as {choose_factory(count, width)!r}: correct `factory` or leave it out"
        ) from error
    nlist = _prepare(index, seed)
    with one_thread():
        try:
            for _ in track([0], f"training {factory}", 1):
                sample = max(256 * nlist, 65536)
                index.train(_sample(vectors, sample, seed, least=nlist))
        except RuntimeError as error:
            raise DataError(
                f"found {counted(count, 'image')}, expected more to train `factory` {asked!r} "
                f"({reason(error)}): leave `factory` out for {choose_factory(count, width)!r}, or "
                "add images"
            ) from error
        parts = track(blocks(vectors), "adding images to the index", -(-count // _CHUNK))
        if lists is not None:
            return fill(index, iter(parts), count, lists)
        for block in parts:
            index.add(block)
    return index


def blocks(vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """(n, d) parts of (N, d) vectors in order; pages of a memory map are let go one by one."""
    for start in range(0, len(vectors), _CHUNK):
        yield np.ascontiguousarray(vectors[start : start + _CHUNK])
        release(vectors)


def _prepare(index: Any, seed: int) -> int:
    """Seed the clusterings of ``index``; returns its number of inverted lists (0: none)."""
    import faiss

    try:
        inner: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    except RuntimeError:
        inner = index
        while isinstance(inner, faiss.IndexPreTransform | faiss.IndexRefine):
            base = inner.index if isinstance(inner, faiss.IndexPreTransform) else inner.base_index
            inner = faiss.downcast_index(base)
    codes = getattr(inner, "pq", None)
    outer: Any = index
    if isinstance(outer, faiss.IndexRefine):
        outer = faiss.downcast_index(outer.base_index)
    if isinstance(outer, faiss.IndexPreTransform) and codes is not None:
        chain: Any = outer.chain
        rotation: Any = faiss.downcast_VectorTransform(chain.at(0))
        if isinstance(rotation, faiss.OPQMatrix):
            rotation.niter = _OPQ_ROUNDS
            # FAISS learns the rotation with codes of 8 bits whatever the index has: 16 times the
            # centroids to train. The quantizer is lent, so it must live as long as the index.
            lent = faiss.ProductQuantizer(codes.d, codes.M, codes.nbits)
            _settle(lent.cp, seed)
            rotation.pq = lent
            index.referenced_objects = [lent]
    for clustering in [getattr(inner, "cp", None), None if codes is None else codes.cp]:
        if clustering is not None:
            _settle(clustering, seed)
    if hasattr(inner, "do_polysemous_training"):
        # FAISS permutes PQ centroids by simulated annealing unless the factory says "np". Only
        # Hamming filtering (ht=) uses that, and it takes 30 times as long as the training itself.
        inner.do_polysemous_training = False
    return int(getattr(inner, "nlist", 0))


def _settle(clustering: Any, seed: int) -> None:
    clustering.seed = 1234 + seed
    # Small maps are trained on fewer points; the agreement is measured afterwards.
    clustering.min_points_per_centroid = 1


def _sample(
    vectors: NDArray[np.float32], most: int, seed: int, *, least: int = 0
) -> NDArray[np.float32]:
    """At most ``most`` rows, of ``SAMPLE_BYTES`` unless ``least`` lists need more."""
    fits = max(SAMPLE_BYTES // (4 * vectors.shape[1]), POINTS_PER_CENTROID * least)
    most = min(most, fits)
    if len(vectors) <= most:
        return np.ascontiguousarray(vectors)
    rows = np.random.default_rng(seed).choice(len(vectors), most, replace=False)
    sample = np.ascontiguousarray(vectors[np.sort(rows)])
    release(vectors)
    return sample
