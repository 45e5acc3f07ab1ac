"""Nearest neighbours of every training image in the gallery network's space.

The k-NN baselines (CSD, ROP, MSP, D3still) rank them. They are computed before training, over all
images and exactly, and their cost is reported beside the memory bank's.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError
from edgevpr.progress import Track, silent


@dataclass(frozen=True)
class Neighbours:
    """``rows`` (N, K) int32 rows of ``features`` (N, D), nearest first, the image itself first."""

    rows: NDArray[np.int32]
    features: NDArray[np.float16]

    def descriptors(self, images: NDArray[np.int64]) -> NDArray[np.float16]:
        """(B,) image rows -> (B, K, D) descriptors of their neighbours."""
        return np.asarray(self.features[self.rows[images]])


def precompute_neighbours(
    features: NDArray[np.float16],
    top_k: int,
    out: Path,
    *,
    block: int = 4096,
    track: Track = silent,
) -> Neighbours:
    """Exact K nearest neighbours by inner product of (N, D) descriptors, stored at ``out`` (.npy).

    Takes time N^2 D; memory is that of two blocks and the result, whatever N is.
    """
    count = len(features)
    top_k = min(top_k, count)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    rows = np.lib.format.open_memmap(partial, "w+", np.int32, (count, top_k))
    for start in track(range(0, count, block), "nearest neighbours"):
        queries = np.asarray(features[start : start + block], np.float32)
        heap = faiss.ResultHeap(len(queries), top_k, keep_max=True)
        for low in range(0, count, block):
            others = np.asarray(features[low : low + block], np.float32)
            similarity, found = faiss.knn(
                queries, others, min(top_k, len(others)), metric=faiss.METRIC_INNER_PRODUCT
            )
            heap.add_result(similarity, found + low)
        heap.finalize()
        # A duplicate may rank before the image itself, which is to lead.
        own = np.arange(start, start + len(queries))[:, None]
        ranked = np.hstack([own, heap.I])
        twice = ranked == own
        twice[:, 0] = False
        order = np.argsort(twice, 1, kind="stable")
        rows[start : start + len(queries)] = np.take_along_axis(ranked, order, 1)[:, :top_k]
    rows.flush()
    del rows
    partial.replace(out)
    return Neighbours(np.load(out, mmap_mode="r"), features)


def stored_neighbours(
    path: Path, features: NDArray[np.float16], *, wait_s: float = 86400.0
) -> Neighbours:
    """Neighbours that another process precomputes at ``path``, once they are there.

    Raises:
        DataError: it did not come in time.
    """
    until = time.monotonic() + wait_s
    while not path.is_file():
        if time.monotonic() > until:
            raise DataError(
                f"found no {path} after {wait_s:g} s, expected it of the first process: see there"
            )
        time.sleep(0.2)
    return Neighbours(np.load(path, mmap_mode="r"), features)
