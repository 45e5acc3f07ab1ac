"""The geographical memory bank: what the gallery network says of each place.

Eq. 2 of Kim, Cho and Yoon, "Towards Test-time Efficient Visual Place Recognition via Asymmetric
Query Processing": a centroid per place, the mean of the gallery descriptors of its images; with
it the diagonal of the place's covariance, which Eq. 8 needs. One streaming pass over the features,
no nearest neighbours.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgevpr.errors import DataError, UsageError
from edgevpr.places.table import ImageTable
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
    block: int = 128,
    track: Track = silent,
) -> Bank:
    """One pass over (N, D) descriptors (memory maps welcome) -> the bank.

    Memory is the bank's, a quarter as much again for float16, and a few blocks, whatever N is.
    Sums are kept relative to the first descriptor of each place: float32 does not cancel.

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
            f"found {len(ids)} place(s) in the features, expected 2 or more to contrast: embed a "
            "data set with place ids (GSV-Cities layout, @utm names or an images.csv)"
        )
    dim = descriptors.shape[1]
    # Sums are kept relative to the first descriptor of each place, which is exact in its own type.
    # First touches of memory cost as much as reading N: numpy asks the system for huge pages, and
    # every block goes through the same buffers.
    origin = torch.from_numpy(np.zeros((len(ids), dim), descriptors.dtype))
    total, squares = (torch.from_numpy(np.zeros((len(ids), dim), np.float32)) for _ in range(2))
    values, before = (torch.empty(block, dim) for _ in range(2))
    picked = torch.empty(block, dim, dtype=origin.dtype)
    pages = [np.empty((block, dim), descriptors.dtype) for _ in range(2)]
    seen = np.zeros(len(ids), bool)

    def read(start: int) -> NDArray[np.floating]:
        rows = descriptors[start : start + block]
        page = pages[start // block % 2][: len(rows)]
        np.copyto(page, rows)
        return page

    # One block is read while the one before it is added up, each on one thread: more would spin
    # while they wait for the disk, on the core that reads.
    with ThreadPoolExecutor(1) as ahead, _one_thread():
        waiting = ahead.submit(read, 0)
        for start in track(range(0, len(places), block), "memory bank"):
            found = torch.from_numpy(waiting.result())
            waiting = ahead.submit(read, start + block)
            of_block = places[start : start + block]
            known = np.flatnonzero(of_block >= 0)
            if len(known) < len(of_block):
                found = found[torch.from_numpy(known)]
            rows = np.searchsorted(ids, of_block[known])
            fresh, first = np.unique(rows, return_index=True)
            new = ~seen[fresh]
            origin[torch.from_numpy(fresh[new])] = found[torch.from_numpy(first[new])]
            seen[fresh] = True
            index = torch.from_numpy(rows)
            x, zero = values[: len(rows)], before[: len(rows)]
            zero.copy_(torch.index_select(origin, 0, index, out=picked[: len(rows)]))
            x.copy_(found).sub_(zero)
            total.index_add_(0, index, x)
            squares.index_add_(0, index, x.square_())
    for low in range(0, len(ids), 256):  # in parts: the whole would be copied
        part = slice(low, low + 256)
        n = torch.from_numpy(counts[part]).float()[:, None]
        mean = total[part].div_(n)
        squares[part].div_(n).sub_(mean.square()).clamp_min_(0)
        mean.add_(origin[part])
    return Bank(places=ids, centroids=total.numpy(), variances=squares.numpy(), counts=counts)


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


def places_from_positions(
    table: ImageTable, *, cell_m: float = 10.0, heading_deg: float = 30.0
) -> NDArray[np.int64]:
    """(N,) place ids from positions: a grid of square cells, and bins of heading inside each.

    As CosPlace cuts a city into classes (Berton et al., CVPR 2022): two images of a street corner
    that look different ways are different places. Images without a heading share one bin of their
    cell; images without a position are -1.

    Args:
        cell_m: side of a cell, metres.
        heading_deg: width of a bin, degrees; 360 ignores headings.

    Raises:
        UsageError: a cell or a bin that is not above 0, or a bin above 360.
    """
    if not (cell_m > 0 and 0 < heading_deg <= 360):
        raise UsageError(
            f"found `cell_m` {cell_m:g} and `heading_deg` {heading_deg:g}, expected above 0 m, and "
            "above 0 and at most 360 degrees: pass `cell_m` 10 and `heading_deg` 30"
        )
    located = table.located
    heading = np.where(np.isfinite(table.heading), table.heading % 360, -heading_deg)
    key = np.stack(
        [
            table.zone,
            np.floor(np.where(located, table.easting, 0) / cell_m).astype(np.int64),
            np.floor(np.where(located, table.northing, 0) / cell_m).astype(np.int64),
            np.floor(heading / heading_deg).astype(np.int64),
        ],
        axis=1,
    )
    ids = np.full(len(table), -1, np.int64)
    ids[located] = np.unique(key[located], axis=0, return_inverse=True)[1].reshape(-1)
    return ids
