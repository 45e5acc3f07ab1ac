"""The geographical memory bank: what the gallery network says of each place.

Eq. 2 of Kim, Cho and Yoon, "Towards Test-time Efficient Visual Place Recognition via Asymmetric
Query Processing": a centroid per place, the mean of the gallery descriptors of its images; with
it the diagonal of the place's covariance, which Eq. 8 needs. One streaming pass over the features,
no nearest neighbours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError
from edgevpr.progress import Track, silent


@dataclass(frozen=True)
class Bank:
    """M places in a D-dimensional space.

    ``places`` (M,) sorted ids; ``centroids`` (M, D) float32, plain means (not re-normalized);
    ``variances`` (M, D) float32, biased (divided by the count), so a place with one image has
    variance zero and Eq. 8 falls back to Eq. 3 for it; ``counts`` (M,).
    """

    places: NDArray[np.int64]
    centroids: NDArray[np.float32]
    variances: NDArray[np.float32]
    counts: NDArray[np.int64]

    def rows(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bank rows of place ids (all of which are in the bank)."""
        rows = np.searchsorted(self.places, places)
        if (rows >= len(self.places)).any() or (self.places[rows] != places).any():
            raise ValueError("a place id is not in the bank")
        return rows


def build_bank(
    descriptors: NDArray[np.floating],
    places: NDArray[np.int64],
    *,
    block: int = 4096,
    track: Track = silent,
) -> Bank:
    """One pass over (N, D) descriptors (memory maps welcome) -> the bank.

    Memory is that of the bank and one block, whatever N is. Sums are kept relative to the first
    descriptor of each place, so that float32 accumulation does not cancel.

    Args:
        descriptors: (N, D) gallery descriptors.
        places: (N,) place id of each, -1 where unknown (those rows are left out).

    Raises:
        DataError: fewer than two places: there is nothing to contrast with.
    """
    ids, counts = np.unique(places[places >= 0], return_counts=True)
    if len(ids) < 2:
        raise DataError(
            f"the features name {len(ids)} place(s), expected at least 2 to contrast: embed a "
            "data set with place ids (GSV-Cities layout, @utm names or an images.csv)"
        )
    dim = descriptors.shape[1]
    origin = np.zeros((len(ids), dim), np.float32)
    total = np.zeros((len(ids), dim), np.float32)
    squares = np.zeros((len(ids), dim), np.float32)
    seen = np.zeros(len(ids), bool)
    for start in track(range(0, len(places), block), "memory bank"):
        of_block = places[start : start + block]
        known = np.flatnonzero(of_block >= 0)
        if not len(known):
            continue
        values = np.asarray(descriptors[start : start + block], np.float32)[known]
        rows = np.searchsorted(ids, of_block[known])
        order = np.argsort(rows, kind="stable")
        rows, values = rows[order], values[order]
        firsts = np.flatnonzero(np.diff(rows, prepend=-1))
        groups = rows[firsts]
        fresh = ~seen[groups]
        origin[groups[fresh]] = values[firsts[fresh]]
        seen[groups] = True
        values -= origin[rows]
        total[groups] += np.add.reduceat(values, firsts, axis=0)
        np.square(values, out=values)
        squares[groups] += np.add.reduceat(values, firsts, axis=0)
    n = counts[:, None].astype(np.float32)
    total /= n
    squares /= n
    variances = np.maximum(squares - np.square(total), 0.0)
    total += origin
    return Bank(places=ids, centroids=total, variances=variances, counts=counts)
