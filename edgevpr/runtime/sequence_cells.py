"""Cells of the sequence filter: squares of ground that hold gallery images, and their neighbours.

Squares, not images: ten images of one corner are one location, and a square has at most eight
neighbours however dense the map is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.places.table import ImageTable

#: Images sampled to estimate the distance between places.
_SAMPLED = 256
_AROUND = tuple((dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy)


@dataclass(frozen=True)
class Cells:
    """C squares. Images without a position share a square with those of their place id, or have
    one of their own; such squares touch no other."""

    #: (N,) the square of each gallery image that is kept; 0 for others, which no search finds.
    of: NDArray[np.int64]
    #: (C,) a gallery image of each square.
    row: NDArray[np.int64]
    #: (C, 8) squares that touch, -1 for none, and the share of what leaves that goes there:
    #: 1 / max(touching here, touching there), so that what flows between two squares is equal
    #: both ways and a belief that is even stays even (Metropolis).
    touching: NDArray[np.int64]
    share: NDArray[np.float64]
    #: metres along a side; nan where no image has a position.
    side_m: float

    def __len__(self) -> int:
        return len(self.row)


def cells_of(images: ImageTable, radius_m: float, kept: NDArray[np.bool_] | None = None) -> Cells:
    """Squares as wide as places are apart: from half of ``radius_m`` to eight times it.

    Squares of two UTM zones do not touch: a drive across the border is found again behind it.

    Args:
        kept: (N,) images still in the map; all without it.
    """
    kept = np.ones(len(images), bool) if kept is None or not kept.any() else kept
    located = images.located
    side = _spacing(images, radius_m) if located.any() else float("nan")
    keys = np.zeros((len(images), 3), np.int64)
    keys[:, 0] = -2 - np.arange(len(images))  # neither position nor place: alone
    named = ~located & (images.place >= 0)
    keys[named, 0], keys[named, 1] = -1, images.place[named]
    if located.any():
        keys[located, 0] = images.zone[located]
        keys[located, 1:] = np.floor(images.xy[located] / side).astype(np.int64)
    rows = np.flatnonzero(kept)
    found, row, inverse = np.unique(keys[rows], axis=0, return_index=True, return_inverse=True)
    of = np.zeros(len(images), np.int64)
    of[rows] = inverse.reshape(-1)
    touching = _touching(found)
    degree = (touching >= 0).sum(axis=1)
    there = np.where(touching >= 0, degree[touching], 1)
    share = np.where(touching >= 0, 1.0 / np.maximum(np.maximum(degree[:, None], there), 1), 0.0)
    return Cells(of, rows[row], touching, share, side)


def _touching(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """(C, 8) of (C, 3) sorted zone, column and row numbers."""
    touching = np.full((len(keys), len(_AROUND)), -1, np.int64)
    on_ground = keys[:, 0] >= 0
    if not on_ground.any():
        return touching
    low = keys[on_ground, 1:].min(axis=0) - 1
    width, height = keys[on_ground, 1:].max(axis=0) + 2 - low

    def number(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        zone = keys[on_ground, 0]
        return np.asarray((zone * width + columns - low[0]) * height + rows - low[1])

    squares = np.flatnonzero(on_ground)
    numbers = number(keys[squares, 1], keys[squares, 2])  # ascending, as the keys are sorted
    for i, (dx, dy) in enumerate(_AROUND):
        wanted = number(keys[squares, 1] + dx, keys[squares, 2] + dy)
        at = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
        touching[squares, i] = np.where(numbers[at] == wanted, squares[at], -1)
    return touching


def _spacing(images: ImageTable, radius_m: float) -> float:
    """Median metres from an image to the nearest of another place (another id, or half a radius
    away where there are no ids), within the bounds of ``cells_of``."""
    rows = np.flatnonzero(images.located)
    xy, place = images.xy[rows], images.place[rows]
    low, high = radius_m / 2, 8 * radius_m
    chosen = np.unique(np.linspace(0, len(rows) - 1, _SAMPLED).astype(np.int64))
    nearest = []
    for i in chosen:
        away = np.hypot(xy[:, 0] - xy[i, 0], xy[:, 1] - xy[i, 1])
        other = (place != place[i]) if place[i] >= 0 else (away > low)
        if other.any():
            nearest.append(float(away[other].min()))
    return float(np.clip(np.median(nearest), low, high)) if nearest else high
