"""Gallery images that answer a query: within a radius, or of the same place."""

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError
from edgevpr.places.grid import within
from edgevpr.places.table import ImageTable
from edgevpr.places.utm import FALSE_NORTHING, to_latlon, to_zone


def positives_within(
    queries: ImageTable, gallery: ImageTable, radius_m: float = 25.0
) -> list[NDArray[np.int64]]:
    """For each query, the gallery rows within ``radius_m`` metres of it, ascending.

    Distances are UTM metres in the query's zone; gallery images of neighbouring zones are brought
    into it, so two images 10 m apart across a zone border or the equator are positives. A row
    without a zone (or a letter) is taken to lie in the most frequent one of the two tables. Rows
    without coordinates match nothing: see ``positives``.

    Neighbours are found on a grid of cells one radius wide, in memory that does not grow with the
    number of pairs looked at: 10,000 queries against 100,000 images take about a second.
    """
    if not radius_m >= 0:
        raise DataError(f"found `radius_m` {radius_m}, expected 0 or more: pass `radius_m` 25")
    empty = np.empty(0, np.int64)
    result = [empty] * len(queries)
    q_zone, g_zone, q_north, g_north = _plane(queries, gallery)
    for number in np.unique(q_zone[queries.located]):
        q_rows = np.flatnonzero(queries.located & (q_zone == number))
        g_rows, g_xy = _gallery_in_zone(gallery, g_zone, g_north, int(number))
        q_xy = np.stack([queries.easting[q_rows], q_north[q_rows]], axis=1)
        for row, found in zip(q_rows, within(q_xy, g_xy, radius_m), strict=True):
            result[row] = np.sort(g_rows[found])
    return result


def positives(
    queries: ImageTable, gallery: ImageTable, radius_m: float = 25.0
) -> list[NDArray[np.int64]]:
    """For each query, the gallery rows that answer it, ascending.

    Where both images have coordinates: within ``radius_m`` metres. Where either has none: the same
    place id. Data without coordinates, indoor walks for example, is thus scored by place id alone.
    """
    result = positives_within(queries, gallery, radius_m)
    order = np.argsort(gallery.place, kind="stable")
    ids = gallery.place[order]
    for row, place in enumerate(queries.place):
        if place < 0:
            continue
        same = order[np.searchsorted(ids, place, "left") : np.searchsorted(ids, place, "right")]
        if queries.located[row]:
            same = same[~gallery.located[same]]
        if len(same):
            result[row] = np.sort(np.concatenate([result[row], same]))
    return result


def rule_of(queries: ImageTable, gallery: ImageTable, radius_m: float = 25.0) -> str:
    """What makes a gallery image a positive of these queries, in words, as ``positives`` does.

    ``within 25 m``, or where no image of either table has coordinates, ``of the same place``.
    """
    if not (queries.located.any() and gallery.located.any()):
        return "of the same place"
    if queries.located.all() and gallery.located.all():
        return f"within {radius_m:g} m"
    return f"within {radius_m:g} m, or without coordinates of the same place"


def _plane(
    queries: ImageTable, gallery: ImageTable
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Zone and signed northing of both tables, what is unknown filled with the most frequent."""
    zones = np.concatenate([queries.zone, gallery.zone])
    bands = np.array(queries.letter + gallery.letter, "U1")
    northing = np.concatenate([queries.northing, gallery.northing])
    known = zones[zones > 0]
    zones = np.where(zones > 0, zones, np.bincount(known).argmax() if len(known) else 0)
    south = (bands != "") & (bands < "N")
    if south.sum() > ((bands != "") & ~south).sum():
        south |= bands == ""
    northing = northing - np.where(south, FALSE_NORTHING, 0.0)
    n = len(queries)
    return zones[:n], zones[n:], northing[:n], northing[n:]


def _gallery_in_zone(
    gallery: ImageTable, zones: NDArray[np.int64], north: NDArray[np.float64], number: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Gallery rows of this zone and its neighbours, and their (n, 2) metres in this zone."""
    # Svalbard's zones leave out every second number: neighbours may be two apart.
    apart = np.abs((zones - number + 30) % 60 - 30)
    own = gallery.located & (zones == number)
    xy = np.stack([gallery.easting, north], axis=1)
    near = gallery.located & (apart > 0) & (apart <= 2) & (zones > 0) & (number > 0)
    if near.any():
        lat, lon = to_latlon(gallery.easting[near], north[near], zones[near], "N")
        xy[near] = np.stack(to_zone(lat, lon, number), axis=1)
    rows = np.flatnonzero((own | near) & np.isfinite(xy).all(axis=1))
    return rows, xy[rows]
