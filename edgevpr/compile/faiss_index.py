"""Choosing, training and filling a FAISS index.

The metric is always the inner product of unit vectors, so scores are cosine similarities. For a
quantized index it is also the cheaper choice: its lookup tables depend on the query alone, where
L2 over residuals keeps a table per inverted list (33 MB for 512 lists of PQ64x8).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError, ResourceError, UsageError
from edgevpr.progress import Track, silent

#: FAISS wants this many training points a centroid before it stops warning.
POINTS_PER_CENTROID = 39
#: Below this there is nothing to gain from inverted lists: every vector is looked at.
SMALLEST_IVF = 64
_CHUNK = 65536


def choose_factory(count: int, width: int) -> str:
    """A FAISS factory string for ``count`` vectors of ``width`` dimensions.

    ``IVF<n>,PQ<m>x4fsr,Refine(SQfp16)``: n is the power of two nearest to 4 sqrt(N) that leaves
    39 training points a list. The product quantizer has 4-bit codes over 2 dimensions each (the
    bytes of the usual 8 bits over 4), residual, in the fast-scan layout: 16 centroids train on a
    thousand images where 256 would not, in seconds instead of a minute, and single queries were
    1.8 to 2.7 times faster than PQ<d/4>x8 at the same agreement (20,000 and 2,108 images, 256-d).
    The fp16 store re-ranks the candidates: without it IVFPQ alone found 52% of the exact first
    images on real features, with SQ8 98%, with fp16 100%.
    """
    if count < SMALLEST_IVF:
        return "SQfp16"
    most = max(count // POINTS_PER_CENTROID, 1)
    lists = 2 ** round(math.log2(4 * math.sqrt(count)))
    lists = min(lists, 2 ** int(math.log2(most)))
    codes = width // 2 if width % 2 == 0 else width
    return f"IVF{lists},PQ{codes}x4fsr,Refine(SQfp16)"


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


def build_index(
    vectors: NDArray[np.float32], factory: str, *, seed: int = 0, track: Track = silent
) -> Any:
    """Train ``factory`` on (N, d) unit vectors and add them all; row i gets id i.

    The same vectors, factory, seed and FAISS version give the same index, to the byte.

    Raises:
        UsageError: FAISS does not accept the factory string for this width.
        DataError: too few vectors to train it.
    """
    import faiss

    count, width = vectors.shape
    try:
        index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise UsageError(
            f"FAISS {faiss.__version__} does not accept --factory {factory!r} for {width} "
            f"dimensions and inner products ({_reason(error)}); expected a factory string such as "
            f"{choose_factory(count, width)!r}: correct it or leave --factory out"
        ) from error
    lists = _prepare(index, seed)
    with one_thread():
        try:
            for _ in track([0], f"training {factory}", 1):
                index.train(_training_sample(vectors, lists, seed))
        except RuntimeError as error:
            raise DataError(
                f"{count} images are too few to train --factory {factory!r} ({_reason(error)}): "
                f"leave --factory out for {choose_factory(count, width)!r}, or add images"
            ) from error
        chunks = range(0, count, _CHUNK)
        for start in track(chunks, "adding images to the index", len(chunks)):
            index.add(vectors[start : start + _CHUNK])
    return index


def write_index(index: Any, path: Path) -> None:
    """Write a FAISS index file.

    Raises:
        ResourceError: the disk is full, or ``path`` is not writable.
    """
    import faiss

    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise ResourceError(
            f"the index cannot be written to {path.parent} ({_reason(error)}): free some space "
            "there, or choose another place with -o"
        ) from error


def _prepare(index: Any, seed: int) -> int:
    """Seed the clusterings of ``index``; returns its number of inverted lists (0: none)."""
    import faiss

    try:
        ivf: Any = faiss.downcast_index(faiss.extract_index_ivf(index))
    except RuntimeError:
        return 0
    quantizers = [ivf.cp] + ([ivf.pq.cp] if hasattr(ivf, "pq") else [])
    for clustering in quantizers:
        clustering.seed = 1234 + seed
        # Small maps are trained on what there is; the measured agreement says what it is worth.
        clustering.min_points_per_centroid = 1
    if hasattr(ivf, "do_polysemous_training"):
        # FAISS permutes PQ centroids by simulated annealing unless the factory says "np". Only
        # Hamming filtering (ht=) uses that, and it takes 30 times as long as the training itself.
        ivf.do_polysemous_training = False
    return int(ivf.nlist)


def _training_sample(vectors: NDArray[np.float32], lists: int, seed: int) -> NDArray[np.float32]:
    most = max(256 * lists, 65536)
    if len(vectors) <= most:
        return vectors
    rows = np.random.default_rng(seed).choice(len(vectors), most, replace=False)
    return np.ascontiguousarray(vectors[np.sort(rows)])


def _reason(error: RuntimeError) -> str:
    """The sentence at the end of a FAISS error, without its source position."""
    return str(error).rpartition("Error: ")[2].splitlines()[-1].strip().rstrip(".")
