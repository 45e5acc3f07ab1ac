"""The queries that ``edgevpr index`` measures with, and what exact search answers to them."""

from pathlib import Path

import numpy as np

from edgevpr.artifacts.features import Features
from edgevpr.compile.index.operating_points import HeldOut, hold_out, nearest
from edgevpr.compile.index.resume import Work
from edgevpr.compile.index.vectors import check_finite
from edgevpr.errors import DataError
from edgevpr.places.table import positives
from edgevpr.progress import Track

#: Held-out queries measured with; more only sharpen the second decimal.
MAX_QUERIES = 1000


def held_out(
    gallery: Features,
    queries: Features | None,
    work: Work,
    radius_m: float,
    seed: int,
    track: Track,
) -> tuple[HeldOut, str]:
    """The queries to measure with and their exact answers; ``GalleryRecord.tuned_on``."""
    rng = np.random.default_rng(seed)
    source = gallery if queries is None else queries
    if source.record.count == 0:
        raise DataError(
            f"{source.artifact.path} holds no queries: run edgevpr embed on a folder with some"
        )
    count = min(source.record.count, MAX_QUERIES)
    rows = np.sort(rng.choice(source.record.count, count, replace=False)).astype(np.int64)
    descriptors = np.asarray(source.descriptors[rows], np.float32)
    check_finite(descriptors, source, rows)
    good = positives(source.table.take(rows), gallery.table, radius_m)
    if queries is None:
        good = [found[found != row] for found, row in zip(good, rows, strict=True)]

    def search(to: Path) -> None:
        found = nearest(descriptors, gallery.descriptors, own, track=track)
        with to.open("wb") as file:
            np.save(file, found)

    own = rows if queries is None else None
    held = hold_out(
        descriptors,
        gallery.descriptors,
        own=own,
        positives=good if any(len(found) for found in good) else None,
        rows=np.load(work.file("exact.npy", search), allow_pickle=False),
    )
    if queries is None:
        return held, "gallery"
    return held, "queries" if source.record.role == "query" else "queries by the gallery network"
