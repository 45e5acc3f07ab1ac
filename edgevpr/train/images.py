"""Training images: reading, augmentation and batches.

Every random choice is drawn from (seed, epoch, position), never from global state, so a run gives
the same batches with any number of workers and after any interruption.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from edgevpr.errors import DataError, EdgeVPRError
from edgevpr.preprocess import Preprocess, read_image
from edgevpr.printable import counted

Batch = list[tuple[int, int]]


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Batches of images: a list of (epoch, row) -> (B, 3, H, W) float32 and (B,) rows.

    Args:
        root: folder the paths are relative to.
        paths: image paths.
        preprocess: size and normalization.
        augment: random crop and light changes; None reads images as they are.
        seed: of the augmentation, with epoch and row.
        unreadable: what becomes of images that cannot be read. "raise": DataError. "drop": they
            are left out of their batch, which may end up empty. "replace": the nearest one in the
            batch that can be read takes their place, cropped and lit for itself, so that the batch
            keeps its size; DataError if there is none.
    """

    def __init__(
        self,
        root: Path,
        paths: list[str],
        preprocess: Preprocess,
        augment: "Augment | None" = None,
        seed: int = 0,
        *,
        unreadable: Literal["raise", "drop", "replace"] = "raise",
    ) -> None:
        self.unreadable = unreadable
        self.root, self.paths, self.preprocess = root, paths, preprocess
        self.augment, self.seed = augment, seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        read: dict[int, NDArray[np.uint8]] = {}
        problem = None
        for at, (epoch, row) in enumerate(batch):
            try:
                read[at] = self._read(epoch, row)
            except DataError as error:
                if self.unreadable == "raise":
                    raise
                problem = error
        if problem is not None and self.unreadable == "replace":
            if not read:
                raise problem
            batch = self._replaced(batch, read)
        rows = torch.tensor([batch[at][1] for at in sorted(read)], dtype=torch.int64)
        size = (0, self.preprocess.height, self.preprocess.width, 3)
        images = np.stack([read[at] for at in sorted(read)]) if read else np.empty(size, np.uint8)
        pixels = torch.from_numpy(self.preprocess.normalize(images))
        return pixels.contiguous(memory_format=torch.channels_last), rows

    def _replaced(self, batch: Batch, read: dict[int, NDArray[np.uint8]]) -> Batch:
        """Fill ``read``; the batch with the rows that are read now."""
        filled, good = list(batch), sorted(read)
        for at in set(range(len(batch))) - set(good):
            epoch, row = filled[at] = batch[min(good, key=lambda other: abs(other - at))]
            read[at] = self._read(epoch, row, again=at + 1)
        return filled

    def _read(self, epoch: int, row: int, again: int = 0) -> NDArray[np.uint8]:
        image = read_image(self.root / self.paths[row])
        if self.augment is not None:
            key = (self.seed, epoch, row, again) if again else (self.seed, epoch, row)
            image = self.augment(image, np.random.default_rng(key))
        return self.preprocess.resize(image)


def spread_out(images: Images, count: int = 256, batch_size: int = 64) -> Iterator[Tensor]:
    """(B, 3, H, W) batches of at most ``count`` images, evenly from first to last."""
    rows = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int).tolist()
    for start in range(0, len(rows), batch_size):
        yield images[[(0, row) for row in rows[start : start + batch_size]]][0]


def loader(images: Dataset[Any], batches: Sampler[Batch], workers: int) -> "BatchLoader":
    """A loader that yields what ``batches`` asks for, read ahead by worker processes.

    ``images``: ``Images``, or another data set that takes a batch for an index.

    Iterating over it raises DataError, the sentence alone, for an image that cannot be read.
    """
    return BatchLoader(
        _Returning(images),
        sampler=batches,
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_single_threaded,
    )


class _Returning(Dataset[Any]):
    """Errors as items: torch raises a worker's exception again with its traceback for a message."""

    def __init__(self, images: Any) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, batch: Batch) -> Any:
        try:
            pixels, rows = self.images[batch]
        except EdgeVPRError as error:
            return type(error)(str(error))  # without its traceback, which cannot be pickled
        return pixels, rows, sorted({row for _, row in batch} - set(rows.tolist()))


class BatchLoader(DataLoader[Any]):
    """A loader of (pixels, rows) that raises the errors among its items.

    ``unread`` has the rows that could not be read so far.
    """

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:  # type: ignore[override]
        for item in super().__iter__():
            if isinstance(item, EdgeVPRError):
                raise item
            pixels, rows, unread = item
            self.unread.update(unread)
            yield pixels, rows

    @functools.cached_property
    def unread(self) -> set[int]:
        return set()


def _single_threaded(_: int) -> None:
    """Keep a worker that reads and resizes on one thread; the network takes the cores."""
    import cv2

    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _share(batch: Batch) -> Batch:
    """This process's part of a batch, when several train together.

    All of them draw the same batches, so the same run gives the same gradient on any number.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return batch
    size = len(batch) // torch.distributed.get_world_size()
    rank = torch.distributed.get_rank()
    return batch[rank * size : (rank + 1) * size]


class InOrder(Sampler[Batch]):
    """Rows from ``start`` up to ``stop``, in order, in batches."""

    def __init__(self, start: int, stop: int, batch_size: int) -> None:
        self.start, self.stop, self.batch_size = start, stop, batch_size

    def __len__(self) -> int:
        return -(-(self.stop - self.start) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(self.start, self.stop, self.batch_size):
            yield [(0, row) for row in range(start, min(start + self.batch_size, self.stop))]


class Augment:
    """A random crop and light changes of exposure, contrast and colour balance.

    Args:
        crop: smallest side of the crop, as a share of the image's.
        light: largest relative change of exposure and contrast; colour balance gets a third of it.
    """

    def __init__(self, crop: float = 0.75, light: float = 0.3) -> None:
        self.crop, self.light = crop, light

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 -> a smaller (h, w, 3) uint8."""
        height, width = image.shape[:2]
        h, w = (max(1, round(n * rng.uniform(self.crop, 1))) for n in (height, width))
        y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
        out = image[y : y + h, x : x + w].astype(np.float32)
        gain = 1 + self.light * rng.uniform(-1, 1) + self.light / 3 * rng.uniform(-1, 1, 3)
        contrast = 1 + self.light * rng.uniform(-1, 1)
        grey = out.mean()
        out = (out - grey) * contrast + grey
        return np.asarray(np.clip(out * gain, 0, 255), dtype=np.uint8)


class ShuffledBatches(Sampler[Batch]):
    """Batches of single images in a new order each epoch, the last short one left out."""

    def __init__(self, rows: NDArray[np.int64], batch_size: int, seed: int) -> None:
        self.rows, self.batch_size, self.seed = rows, min(batch_size, len(rows)), seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(self.rows)
        for i in range(len(self)):
            batch = order[i * self.batch_size : (i + 1) * self.batch_size]
            yield _share([(self.epoch, int(row)) for row in batch])


class PlaceBatches(Sampler[Batch]):
    """Batches of P places with K images each, as GSV-Cities training samples them.

    An epoch has as many batches as the data set has images for, so places with many images are
    drawn from several times in it. Places next to each other are never in one batch, where they
    would be negatives; a batch has fewer than P places where no other is left.

    Args:
        near: place id -> ids of the places next to it.

    Raises:
        DataError: fewer than two places have K images, or all of them are next to each other.
    """

    def __init__(
        self,
        places: NDArray[np.int64],
        places_per_batch: int,
        images_per_place: int,
        seed: int,
        near: dict[int, NDArray[np.int64]] | None = None,
    ) -> None:
        rows = np.flatnonzero(places >= 0)
        rows = rows[np.argsort(places[rows], kind="stable")]
        groups = np.split(rows, np.flatnonzero(np.diff(places[rows])) + 1)
        self.groups = [group for group in groups if len(group) >= images_per_place]
        if len(self.groups) < 2:
            raise DataError(
                f"found {counted(len(self.groups), 'place')} with {images_per_place} images or "
                "more, expected 2 or more: pass a smaller `images_per_place`"
            )
        of_place = {int(places[group[0]]): at for at, group in enumerate(self.groups)}
        self._near = {
            of_place[place]: {of_place[int(other)] for other in others if int(other) in of_place}
            for place, others in (near or {}).items()
            if place in of_place
        }
        self.images_per_place, self.seed = images_per_place, seed
        self.places_per_batch = min(places_per_batch, len(self.groups))
        if all(len(self._near.get(g, ())) == len(self.groups) - 1 for g in range(len(self.groups))):
            raise DataError(
                f"found {len(self.groups)} places that all touch each other, expected some apart "
                "to contrast: pass a smaller `cell_m` or `heading_deg`, or images of a larger area"
            )
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        images = sum(len(group) for group in self.groups)
        return max(1, images // (self.places_per_batch * self.images_per_place))

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng((self.seed, self.epoch))
        waiting: list[int] = []
        for _ in range(len(self)):
            if len(waiting) < self.places_per_batch:
                waiting = rng.permutation(len(self.groups)).tolist()
            batch, waiting = self._apart(waiting)
            if len(batch) < self.places_per_batch:
                fresh = [g for g in rng.permutation(len(self.groups)) if g not in waiting]
                batch, waiting = self._apart([*batch, *waiting, *map(int, fresh)])
            while len(batch) < 2:
                batch, waiting = self._apart(rng.permutation(len(self.groups)).tolist())
            chosen = [
                rng.choice(self.groups[g], self.images_per_place, replace=False) for g in batch
            ]
            yield _share([(self.epoch, int(row)) for row in np.concatenate(chosen)])

    def _apart(self, waiting: list[int]) -> tuple[list[int], list[int]]:
        """The first groups of ``waiting`` that are not next to each other, and what is left."""
        batch: list[int] = []
        left: list[int] = []
        excluded: set[int] = set()
        for at, group in enumerate(waiting):
            if len(batch) == self.places_per_batch:
                left += waiting[at:]
                break
            if group in excluded:
                left.append(group)
            elif group not in batch:
                batch.append(group)
                excluded |= self._near.get(group, set())
        return batch, left
