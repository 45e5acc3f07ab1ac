"""Ranked gallery images as matches: every place once, best first."""

import math

import numpy as np
from numpy.typing import NDArray

from edgevpr.places.table import ImageTable
from edgevpr.runtime.answers import Match


def distinct_places(
    scores: NDArray[np.float32], rows: NDArray[np.int64], images: ImageTable, top: int
) -> list[Match]:
    """The first ``top`` different places of one frame's (K,) ranked gallery images.

    An image without a place id is a place of its own; rows of -1 (nothing found) are left out.
    """
    matches: list[Match] = []
    seen: set[int] = set()
    for score, row in zip(scores.tolist(), rows.tolist(), strict=True):
        if row < 0:
            continue
        place = int(images.place[row])
        key = place if place >= 0 else -1 - row
        if key in seen:
            continue
        seen.add(key)
        matches.append(match_at(images, row, score))
        if len(matches) == top:
            break
    return matches


def match_at(images: ImageTable, row: int, score: float) -> Match:
    """The match of gallery image ``row``."""
    place = int(images.place[row])
    return Match(
        place=place if place >= 0 else None,
        lat=_degrees(images.lat[row]),
        lon=_degrees(images.lon[row]),
        score=round(score, 5),
        image=images.paths[row],
    )


def _degrees(value: np.float64) -> float | None:
    return None if math.isnan(value) else float(value)
