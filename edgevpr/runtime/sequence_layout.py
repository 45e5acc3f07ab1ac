"""Layout of a map for the sequence filter: where each image lies, and how far apart places are.

Metres where the images have positions. Otherwise the order of the map: its rows are taken as one
traverse, consecutive rows of one place id are one step, and the unit is a step.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import UsageError
from edgevpr.places.table import ImageTable

#: Images whose nearest other place is looked for, to learn how far apart places are.
_SAMPLED = 256
#: Bounds of the distance between places, metres.
_CLOSEST_M, _FARTHEST_M = 0.5, 200.0
#: Metres between two UTM zones, so that no motion leads from one to the other.
_ZONE_M = 1e7


@dataclass(frozen=True)
class Layout:
    """N images on the plane, in metres or in steps of the map's order."""

    xy: NDArray[np.float64]  #: (N, 2)
    spacing: float  #: median distance from a place to the nearest other
    places: int  #: squares of one spacing that hold an image, at least 2
    in_metres: bool

    @classmethod
    def of(cls, images: ImageTable, kept: NDArray[np.bool_] | None = None) -> "Layout":
        """The layout of a map.

        Args:
            kept: (N,) images still in the map; all without it.

        Raises:
            UsageError: some images have a position and others have none.
        """
        kept = np.ones(len(images), bool) if kept is None or not kept.any() else kept
        located = images.located
        missing = int((kept & ~located).sum())
        if not missing:
            xy = images.xy - np.nanmean(images.xy[kept], axis=0)
            xy[:, 0] += _ZONE_M * (images.zone - images.zone[kept].min())
            spacing = _spacing(xy, images.place, np.flatnonzero(kept))
        elif missing == int(kept.sum()):
            xy, spacing = np.zeros((len(images), 2)), 1.0
            xy[kept, 0] = _steps(images.place[kept])
        else:
            raise UsageError(
                f"found {missing} of {int(kept.sum())} images of the map without a position, "
                "expected all or none with `sequence`: leave `sequence` out, or index images that "
                "all have positions"
            )
        square = np.floor(xy[kept] / spacing)
        squares = np.unique(square[:, 0] + 1j * square[:, 1])
        return cls(xy, spacing, max(len(squares), 2), not missing)


def _steps(place: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) number of each row's step: a new one where the place id changes or is unknown."""
    changes = (place[1:] != place[:-1]) | (place[1:] < 0)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(changes)])


def _spacing(xy: NDArray[np.float64], place: NDArray[np.int64], rows: NDArray[np.int64]) -> float:
    """Median metres to the nearest image of another id, or of another position without ids."""
    xy, place = xy[rows], place[rows]
    nearest = []
    for i in np.unique(np.linspace(0, len(rows) - 1, _SAMPLED).astype(np.int64)):
        away = np.hypot(xy[:, 0] - xy[i, 0], xy[:, 1] - xy[i, 1])
        other = (place != place[i]) if place[i] >= 0 else (away > _CLOSEST_M)
        if other.any():
            nearest.append(float(away[other].min()))
    return float(np.clip(np.median(nearest), _CLOSEST_M, _FARTHEST_M)) if nearest else 25.0
