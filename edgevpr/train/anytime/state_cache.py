"""Outputs of the frozen parts of a network, computed once per image and kept in memory.

Without augmentation a frozen backbone gives the same for an image in every epoch. What is kept is
what training reads: pooled states, tokens, target descriptors.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from edgevpr.progress import Track
from edgevpr.train.images import Batch, Images, InOrder, loader
from edgevpr.train.networks.network import best_device

#: (B, 3, H, W) images -> tensors of B rows each.
Compute = Callable[[Tensor], tuple[Tensor, ...]]
_BATCH = 64


@dataclass(frozen=True)
class StoredStates(Dataset[tuple[tuple[Tensor, ...], Tensor]]):
    """Batches of a cache: a list of (epoch, row) -> tensors of those rows, and (B,) rows."""

    tensors: tuple[Tensor, ...]
    #: position in ``tensors`` by row of the image table; -1: not kept.
    position: NDArray[np.int64]

    def __getitem__(self, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
        rows = torch.tensor([row for _, row in batch], dtype=torch.int64)
        at = torch.from_numpy(self.position)[rows]
        return tuple(each[at] for each in self.tensors), rows

    def __len__(self) -> int:
        return len(self.position)

    @property
    def megabytes(self) -> float:
        return sum(each.nbytes for each in self.tensors) / 1e6


def store_states(
    images: Images,
    rows: NDArray[np.int64],
    compute: Compute,
    max_mb: float,
    *,
    workers: int,
    track: Track,
) -> StoredStates | None:
    """Compute the states of some images; None where they would take more than ``max_mb``.

    Args:
        images: without augmentation.
        rows: sorted rows of the images to keep.
        compute: on the device that ``best_device`` names; run without gradients.

    Raises:
        DataError: an image cannot be read; names it.
    """
    with torch.no_grad():
        first = compute(images[[(0, int(rows[0]))]][0].to(best_device()))
        megabytes = sum(each[0].nbytes for each in first) * len(rows) / 1e6
        if megabytes > max_mb:
            return None
        tensors = tuple(torch.empty(len(rows), *each.shape[1:]) for each in first)
        position = np.full(len(images), -1)
        position[rows] = np.arange(len(rows))
        batches = loader(images, InRows(rows), workers)
        what = f"states of the frozen network ({megabytes:.0f} MB)"
        for pixels, found in track(batches, what, len(batches)):
            at = torch.from_numpy(position[found.numpy()])
            for kept, values in zip(tensors, compute(pixels.to(best_device())), strict=True):
                kept[at] = values.float().cpu()
    return StoredStates(tensors, position)


def unreadable_rows(images: Images, rows: NDArray[np.int64], workers: int) -> list[int]:
    """Those of some images that cannot be decoded, found by decoding all of them once."""
    images = Images(images.root, images.paths, images.preprocess, unreadable="drop")
    batches = loader(images, InRows(rows), workers)
    for _ in batches:
        pass
    return sorted(batches.unread)


class InRows(InOrder):
    """Given rows, in order, in batches."""

    def __init__(self, rows: NDArray[np.int64], batch_size: int = _BATCH) -> None:
        super().__init__(0, len(rows), batch_size)
        self.rows = rows

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            yield [(epoch, int(self.rows[row])) for epoch, row in batch]
