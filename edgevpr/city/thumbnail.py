"""Recall baseline of a data set: nearest neighbour over 32 x 32 grey thumbnails."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgevpr.city.exact_math import F32
from edgevpr.errors import DataError
from edgevpr.retrieval.recall import Recall, recall_at

SIDE = 32


def thumbnail_descriptors(paths: Sequence[Path]) -> F32:
    """(N, 1024) float32 rows: grey, box-filtered to 32 x 32, mean taken off, unit norm.

    Raises:
        DataError: a file that is not an image.
    """
    import cv2

    rows = np.empty((len(paths), SIDE * SIDE), np.float32)
    for i, path in enumerate(paths):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise DataError(
                f"found no readable image at {path}, expected one of the city's: copy it again, "
                "or run edgevpr city again"
            )
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        row = small.astype(np.float32).ravel()
        row -= row.mean()
        rows[i] = row / max(float(np.sqrt((row * row).sum())), 1e-6)
    return rows


def thumbnail_recall(split: Path, radius_m: float = 25.0) -> Recall:
    """Recall of the baseline on a folder with ``database/`` and ``queries/``."""
    from edgevpr.data.split import read_split
    from edgevpr.places.positives import positives_within

    gallery, queries = read_split(split)
    near = positives_within(queries, gallery, radius_m)
    database = thumbnail_descriptors([split / p for p in gallery.paths])
    asked = thumbnail_descriptors([split / p for p in queries.paths])
    ranked = np.argsort(-(asked @ database.T), axis=1, kind="stable")[:, :20]
    return recall_at(ranked, near, database=len(database))
