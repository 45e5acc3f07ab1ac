"""Held-out queries that an index is measured with, and their exact answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.compile.index.resume import ResumeFolder
from edgevpr.compile.index.vectors import check_finite
from edgevpr.errors import DataError
from edgevpr.places.positives import positives
from edgevpr.progress import Track, silent
from edgevpr.retrieval.exact import SEARCH_DEPTH, exact_search
from edgevpr.retrieval.own_rows import positives_without_own, without_own
from edgevpr.retrieval.recall import recall_at

#: Held-out queries measured with; more only sharpen the second decimal.
MAX_QUERIES = 1000


#: Queries searched exactly at a time.
_BLOCK = 125


@dataclass(frozen=True)
class HeldOut:
    """Q queries and the answers of exact search in the full space (D)."""

    #: (Q, D) L2-normalized.
    descriptors: NDArray[np.float32]
    #: for each query its own gallery row, which does not count as an answer; None: not in it.
    own: NDArray[np.int64] | None
    #: for each query, the gallery rows that show its place; None: not known.
    positives: Sequence[NDArray[np.int64]] | None
    #: (Q, K) rows of exact search, best first, and (Q,) the best similarity.
    exact_rows: NDArray[np.integer]
    best: NDArray[np.float32]


@dataclass(frozen=True)
class Quality:
    """Percent; R@K is None where no query has a positive."""

    agreement: float
    r1: float | None
    r5: float | None
    without_positives: int = 0


def hold_out(
    descriptors: NDArray[np.float32],
    gallery: NDArray[np.floating],
    *,
    own: NDArray[np.int64] | None = None,
    positives: Sequence[NDArray[np.int64]] | None = None,
    rows: NDArray[np.integer] | None = None,
    track: Track = silent,
) -> HeldOut:
    """Search (Q, D) descriptors exactly in the (N, D) gallery and keep the answers.

    Args:
        rows: what ``nearest`` found, where that is known already.
    """
    if rows is None:
        rows = nearest(descriptors, gallery, own, track=track)
    return HeldOut(
        descriptors=descriptors,
        own=own,
        positives=positives,
        exact_rows=rows,
        best=_similarity(descriptors, gallery, rows[:, 0]),
    )


def nearest(
    queries: NDArray[np.float32],
    gallery: NDArray[np.floating],
    own: NDArray[np.int64] | None,
    *,
    track: Track = silent,
) -> NDArray[np.integer]:
    """(Q, K) gallery rows by exact search, best first, each query's own row left out."""
    chunk = max((1 << 26) // gallery.shape[1], 1024)  # 256 MB of float32
    depth = SEARCH_DEPTH + (own is not None)
    starts = range(0, len(queries), _BLOCK)
    blocks = [
        exact_search(queries[start : start + _BLOCK], gallery, depth, chunk=chunk)[1]
        for start in track(starts, "exact search for reference", len(starts))
    ]
    return without_own(np.vstack(blocks), own)


def judge(ranked: NDArray[np.integer], held: HeldOut, gallery: NDArray[np.floating]) -> Quality:
    """Compare (Q, K) rows, best first, with the exact answers and the positives, if any.

    A row that is exactly as similar as the exact first one (a frame stored twice) agrees.
    """
    first = ranked[:, 0]
    similarity = _similarity(held.descriptors, gallery, np.maximum(first, 0))
    agreement = 100.0 * float(((similarity >= held.best - 1e-6) & (first >= 0)).mean())
    if held.positives is None:
        return Quality(agreement, None, None)
    try:
        recall = recall_at(ranked, held.positives, database=len(gallery), ks=(1, 5))
    except DataError:
        return Quality(agreement, None, None, without_positives=len(ranked))
    return Quality(
        agreement, recall.at[1], recall.at.get(5, recall.at[1]), recall.without_positives
    )


def _similarity(
    queries: NDArray[np.float32], gallery: NDArray[np.floating], rows: NDArray[np.integer]
) -> NDArray[np.float32]:
    """(Q,) inner product of each query with the gallery row named for it."""
    picked = np.asarray(gallery[rows], np.float32)
    return np.asarray(np.einsum("qd,qd->q", queries, picked), np.float32)


def choose_queries(
    gallery: Features,
    queries: Features | None,
    resume: ResumeFolder,
    radius_m: float,
    seed: int,
    track: Track,
    name: str = "exact.npy",
) -> tuple[HeldOut, str]:
    """The queries to measure with and their exact answers; ``GalleryRecord.tuned_on``.

    Args:
        name: of the answers among the finished steps.
    """
    rng = np.random.default_rng(seed)
    source = gallery if queries is None else queries
    if source.record.count == 0:
        raise DataError(
            f"found no queries in {source.artifact.path}, expected some: run edgevpr embed on a "
            "folder of them"
        )
    count = min(source.record.count, MAX_QUERIES)
    rows = np.sort(rng.choice(source.record.count, count, replace=False)).astype(np.int64)
    descriptors = np.asarray(source.descriptors[rows], np.float32)
    check_finite(descriptors, source, rows)
    own = rows if queries is None else None
    good = positives(source.table.take(rows), gallery.table, radius_m)
    good = positives_without_own(good, own)

    def search(to: Path) -> None:
        found = nearest(descriptors, gallery.descriptors, own, track=track)
        with to.open("wb") as file:
            np.save(file, found)

    held = hold_out(
        descriptors,
        gallery.descriptors,
        own=own,
        positives=good if any(len(found) for found in good) else None,
        rows=np.load(resume.file(name, search), allow_pickle=False),
    )
    if queries is None:
        return held, "gallery"
    return held, "queries" if source.record.role == "query" else "queries by the gallery network"
