"""Geographical memory bank: mean and variance of the gallery descriptors of each place.

Eq. 2 of Kim, Cho and Yoon, "Towards Test-time Efficient Visual Place Recognition via Asymmetric
Query Processing": a centroid per place, the mean of the gallery descriptors of its images; with
it the diagonal of the place's covariance for Eq. 8. One streaming pass over the features,
no nearest neighbours.
"""

import contextlib
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgevpr.errors import DataError, UsageError
from edgevpr.printable import counted
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

    def hidden(self, near: dict[int, NDArray[np.int64]]) -> NDArray[np.int64] | None:
        """(M, K) rows that are no negatives of each place: its own, then its neighbours'.

        Args:
            near: place id -> ids of its neighbours.

        Returns:
            Rows filled up with -1; None where no place has neighbours.
        """
        if not near:
            return None
        width = 1 + max(len(ids) for ids in near.values())
        result = np.full((len(self.places), width), -1, np.int64)
        result[:, 0] = np.arange(len(self.places))
        for place, ids in near.items():
            result[self.rows(np.array([place])), 1 : 1 + len(ids)] = self.rows(ids)
        return result


def build_bank(
    descriptors: NDArray[np.floating],
    places: NDArray[np.int64],
    *,
    block: int = 128,
    track: Track = silent,
) -> Bank:
    """One pass over (N, D) descriptors (memory maps welcome) -> the bank.

    Memory is the bank's, a quarter as much again for float16, and a few blocks, whatever N is.
    Sums are relative to the first descriptor of each place: float32 does not cancel.

    Args:
        descriptors: (N, D) gallery descriptors.
        places: (N,) place id of each, -1 where unknown (those rows are left out).
        block: rows read and added at once: few enough for the processor's cache.

    Raises:
        DataError: fewer than two places: there is nothing to contrast with.
    """
    ids, counts = np.unique(places[places >= 0], return_counts=True)
    if len(ids) < 2:
        raise DataError(
            f"found {counted(len(ids), 'place')} in the features, expected 2 or more to contrast: "
            "embed a data set with place ids (GSV-Cities layout, @utm names or an images.csv)"
        )
    sums = _Sums(len(ids), descriptors.shape[1], descriptors.dtype, block)
    with contextlib.closing(_read_ahead(descriptors, block)) as blocks:
        for start in track(range(0, len(places), block), "memory bank"):
            found = torch.from_numpy(next(blocks))
            of_block = places[start : start + block]
            known = np.flatnonzero(of_block >= 0)
            if len(known) < len(of_block):
                found = found[torch.from_numpy(known)]
            sums.add(np.searchsorted(ids, of_block[known]), found)
    centroids, variances = sums.moments(counts)
    return Bank(places=ids, centroids=centroids, variances=variances, counts=counts)


class _Sums:
    """Sums and squares of M places, relative to the first descriptor of each.

    First touches of memory cost as much as reading N descriptors: numpy asks the system for huge
    pages, and every block goes through the same buffers.
    """

    def __init__(self, count: int, dim: int, dtype: Any, block: int) -> None:
        # In the descriptors' own type, in which the first ones are exact.
        self.origin = torch.from_numpy(np.zeros((count, dim), dtype))
        self.total = torch.from_numpy(np.zeros((count, dim), np.float32))
        self.squares = torch.from_numpy(np.zeros((count, dim), np.float32))
        self._seen = np.zeros(count, bool)
        self._values, self._before = (torch.empty(block, dim) for _ in range(2))
        self._picked = torch.empty(block, dim, dtype=self.origin.dtype)

    def add(self, rows: NDArray[np.int64], found: Tensor) -> None:
        """Add a block of descriptors (B, D) to the places ``rows`` (B,)."""
        fresh, first = np.unique(rows, return_index=True)
        new = ~self._seen[fresh]
        self.origin[torch.from_numpy(fresh[new])] = found[torch.from_numpy(first[new])]
        self._seen[fresh] = True
        index = torch.from_numpy(rows)
        x, zero = self._values[: len(rows)], self._before[: len(rows)]
        picked = self._picked[: len(rows)]
        zero.copy_(torch.index_select(self.origin, 0, index, out=picked))
        x.copy_(found).sub_(zero)
        self.total.index_add_(0, index, x)
        self.squares.index_add_(0, index, x.square_())

    def moments(self, counts: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """(M, D) means and biased variances, which take the sums' place."""
        for low in range(0, len(counts), 256):  # in parts: the whole would be copied
            part = slice(low, low + 256)
            n = torch.from_numpy(counts[part]).float()[:, None]
            mean = self.total[part].div_(n)
            self.squares[part].div_(n).sub_(mean.square()).clamp_min_(0)
            mean.add_(self.origin[part])
        return self.total.numpy(), self.squares.numpy()


def _read_ahead(
    descriptors: NDArray[np.floating], block: int
) -> Generator[NDArray[np.floating], None, None]:
    """Blocks of rows, one read while the one before it is added up, each on one thread.

    More threads would spin while they wait for the disk, on the core that reads. A block is valid
    until the next but one is asked for.
    """
    pages = [np.empty((block, descriptors.shape[1]), descriptors.dtype) for _ in range(2)]

    def read(start: int) -> NDArray[np.floating]:
        rows = descriptors[start : start + block]
        page = pages[start // block % 2][: len(rows)]
        np.copyto(page, rows)
        return page

    with ThreadPoolExecutor(1) as ahead, _one_thread():
        waiting = ahead.submit(read, 0)
        for start in range(0, len(descriptors), block):
            page = waiting.result()
            waiting = ahead.submit(read, start + block)
            yield page


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def covariances(
    descriptors: NDArray[np.floating], places: NDArray[np.int64], bank: Bank
) -> NDArray[np.float64]:
    """(M, D, D) full covariance of each place of a bank, biased: the S of Eq. 4 and 9.

    For small D, to look at what the diagonal leaves out: M D^2 numbers in float64.

    Raises:
        UsageError: they would take more than 4 GB.
    """
    count, dim = bank.centroids.shape
    if count * dim**2 * 8 > 4e9:
        raise UsageError(
            f"found {count * dim**2 * 8 / 1e9:.0f} GB of full covariances for {count} places, D = "
            f"{dim}, expected at most 4 GB: take fewer places, or project the descriptors first"
        )
    result = np.zeros((count, dim, dim))
    for row, place in enumerate(bank.places):
        members = np.asarray(descriptors[places == place], np.float64)
        centred = members - members.mean(0)
        result[row] = centred.T @ centred / len(members)
    return result
