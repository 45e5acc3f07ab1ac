"""Recall of a network on a data set, symmetric or against gallery-network features."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.data import read_split
from edgevpr.errors import UsageError
from edgevpr.features import Features
from edgevpr.places import ImageTable, positives
from edgevpr.progress import Track, silent
from edgevpr.recall import Recall, recall_at
from edgevpr.search import exact_search
from edgevpr.space import check_same_space
from edgevpr.train.describe import describe
from edgevpr.train.model import load_model


def recall_of(
    queries: ImageTable,
    query_descriptors: NDArray[np.floating],
    gallery: ImageTable,
    gallery_descriptors: NDArray[np.floating],
    *,
    radius_m: float = 25.0,
) -> Recall:
    """Recall@{1, 5, 10, 20} by exact search in the full space."""
    _, rows = exact_search(query_descriptors, gallery_descriptors, 20)
    good = positives(queries, gallery, radius_m)
    return recall_at(rows, good, database=len(gallery))


def evaluate(
    model: Path,
    data: Path,
    *,
    features: Path | None = None,
    radius_m: float = 25.0,
    batch_size: int = 64,
    track: Track = silent,
) -> Recall:
    """``edgevpr eval``: R@K of ``data/queries`` against ``data/database``.

    Args:
        model: describes the queries and, without ``features``, the database too (symmetric).
        features: the gallery network's features of the database (asymmetric); must be of the
            model's descriptor space.

    Raises:
        SpaceMismatchError: model and features belong to different gallery networks.
        UsageError: a query network without ``features``.
    """
    network, about, opened = load_model(model)
    database, queries = read_split(data)
    if features is None and about.role == "query":
        raise UsageError(
            f"{model} is a query network, its gallery is described by the gallery network: "
            "pass --features with the folder that edgevpr embed wrote of the database"
        )
    q = describe(network, about.preprocess, data, queries, batch_size=batch_size, track=track)
    if features is None:
        g = describe(network, about.preprocess, data, database, batch_size=batch_size, track=track)
        return recall_of(queries, q, database, g, radius_m=radius_m)
    stored = Features(features)
    check_same_space(opened.space, str(model), stored.space, str(features))
    return recall_of(queries, q, stored.table, stored.descriptors, radius_m=radius_m)
