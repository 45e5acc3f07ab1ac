"""Place ids of training images: of the data set or of a grid, and of some cities only."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError, UsageError
from edgevpr.places.table import ImageTable
from edgevpr.train.config import TrainConfig


def with_places(table: ImageTable, config: TrainConfig) -> ImageTable:
    """The table with the places the settings ask for; images that are left out have place -1.

    Raises:
        DataError: a city that is not there, or no image with a position.
    """
    place = table.place
    if config.places_from == "gps":
        place = places_from_positions(table, cell_m=config.cell_m, heading_deg=config.heading_deg)
        if (place < 0).all():
            raise DataError(
                f"found no image with a position in {config.images}, expected some for "
                "`places_from` gps: pass `places_from` ids"
            )
    if config.cities:
        cities = [path.split("/")[1] if path.startswith("Images/") else "" for path in table.paths]
        missing = sorted(set(config.cities) - set(cities))
        if missing:
            there = ", ".join(sorted(set(cities) - {""})) or "none: it is not GSV-Cities"
            raise DataError(
                f"found no city {missing[0]} in {config.images}, expected one of {there}: change "
                "`cities`"
            )
        place = np.where(np.isin(cities, config.cities), place, -1)
    return replace(table, place=place)


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
    ids = np.full(len(table), -1, np.int64)
    keys = _cells(table, cell_m, heading_deg)[located]
    ids[located] = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    return ids


def neighbouring_places(table: ImageTable, config: TrainConfig) -> dict[int, NDArray[np.int64]]:
    """Place id -> ids of the places next to it, which are no negatives of it; those that have any.

    Two images 20 cm or one degree apart may lie on both sides of a border. Places of a grid whose
    cells touch (corners too), and whose bins of heading touch or are unknown, show what may be one
    place: they are neither positives nor negatives of each other. CosPlace keeps them apart by
    training on one group of distant cells at a time; leaving them out of the sum keeps all the
    other places in it. Empty where the data set has place ids of its own. Cells of two UTM zones
    do not count as touching.
    """
    if config.places_from != "gps":
        return {}
    known = table.place >= 0
    cells, first = np.unique(
        _cells(table, config.cell_m, config.heading_deg)[known], axis=0, return_index=True
    )
    places = table.place[known][first]
    at: dict[tuple[int, int, int], list[int]] = {}
    for row, (zone, east, north, _) in enumerate(cells.tolist()):
        at.setdefault((zone, east, north), []).append(row)
    bins = int(np.ceil(360 / config.heading_deg))
    near: dict[int, NDArray[np.int64]] = {}
    for row, (zone, east, north, heading) in enumerate(cells.tolist()):
        found = [
            other
            for x in (east - 1, east, east + 1)
            for y in (north - 1, north, north + 1)
            for other in at.get((zone, x, y), [])
            if other != row and _touch(heading, int(cells[other, 3]), bins)
        ]
        if found:
            near[int(places[row])] = np.sort(places[found])
    return near


def _touch(a: int, b: int, bins: int) -> bool:
    """Whether two bins of heading are one or next to each other; -1 is an unknown heading."""
    return min(a, b) < 0 or (a - b) % bins in (0, 1, bins - 1)


def _cells(table: ImageTable, cell_m: float, heading_deg: float) -> NDArray[np.int64]:
    """(N, 4) zone, column, row and bin of heading of each image; -1 is an unknown heading."""
    located = table.located
    heading = np.where(np.isfinite(table.heading), table.heading % 360, -heading_deg)
    return np.stack(
        [
            table.zone,
            np.floor(np.where(located, table.easting, 0) / cell_m).astype(np.int64),
            np.floor(np.where(located, table.northing, 0) / cell_m).astype(np.int64),
            np.floor(heading / heading_deg).astype(np.int64),
        ],
        axis=1,
    )
