"""Evaluation of a network on a data set, symmetric or against gallery-network features."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.features import Features, check_full_path
from edgevpr.artifacts.space import check_same_space
from edgevpr.data import read_split
from edgevpr.data.protocols import open_protocol
from edgevpr.errors import DataError, UsageError
from edgevpr.files import write_atomic
from edgevpr.guard import keeps_inputs
from edgevpr.optional import require
from edgevpr.places.positives import positives
from edgevpr.places.table import ImageTable
from edgevpr.printable import counted
from edgevpr.progress import Track, silent
from edgevpr.retrieval.exact import exact_search
from edgevpr.retrieval.precision_recall import Curve, precision_recall_curve
from edgevpr.retrieval.recall import Recall, hits, recall_at


@dataclass(frozen=True)
class ExitRecall:
    """Answers to queries described through one early exit, from the same database.

    ``rows`` and ``similarity`` (Q, K) as in ``Evaluated``.
    """

    exit: str
    #: multiply-adds as a share of the full path's.
    share: float
    recall: Recall
    curve: Curve
    rows: NDArray[np.int64]
    similarity: NDArray[np.float32]


@dataclass(frozen=True)
class Evaluated:
    """Answers of one model to each query.

    ``rows`` and ``similarity`` (Q, K): gallery rows, best first, and their inner products;
    ``positives``: the gallery rows of the same place as each query; ``root``: folder that the paths
    of both tables are relative to; descriptors (Q, D) and (N, D) float16.
    """

    recall: Recall
    #: precision and recall over the similarity of the best match.
    curve: Curve
    root: Path
    queries: ImageTable
    gallery: ImageTable
    rows: NDArray[np.int64]
    similarity: NDArray[np.float32]
    positives: Sequence[NDArray[np.int64]]
    query_descriptors: NDArray[np.float16]
    gallery_descriptors: NDArray[np.float16]
    #: of a model with early exits, earliest first; everything else here is of its full path.
    exits: Sequence[ExitRecall] = ()

    def to_csv(self) -> str:
        """A line a query: its image, the best answer, and at which rank the first positive is."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(
            ["query", "positives", "correct", "first_positive_rank", "answer", "similarity"]
        )
        found = hits(self.rows, self.positives)
        for i, path in enumerate(self.queries.paths):
            ranks = np.flatnonzero(found[i])
            writer.writerow(
                [
                    path,
                    len(self.positives[i]),
                    int(found[i, 0]),
                    int(ranks[0]) + 1 if len(ranks) else "",
                    self.gallery.paths[self.rows[i, 0]],
                    f"{self.similarity[i, 0]:.4f}",
                ]
            )
        return text.getvalue()


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
    protocol: str | None = None,
    radius_m: float = 25.0,
    batch_size: int = 64,
    track: Track = silent,
) -> Evaluated:
    """R@K and precision over recall of ``data/queries`` against ``data/database``.

    Args:
        model: describes the queries and, without ``features``, the database too (symmetric). Of
            one with early exits each is measured, against the database by the full path.
        features: the gallery network's features of the database (asymmetric); must be of the
            model's descriptor space.
        protocol: reads and checks the data as this protocol, whose rule for positives replaces
            ``radius_m``.

    Raises:
        SpaceMismatchError: model and features belong to different gallery networks.
        UsageError: a query network without ``features``, an unknown protocol, or ``features``
            described by an early exit.
        DataError: the counts are not the protocol's, or the features are of other images.
        MissingExtraError: torch, timm or safetensors is not installed.
    """
    for package in ("torch", "timm", "safetensors"):
        require(package, extra="train")
    from edgevpr.train.anytime.store import load_anytime
    from edgevpr.train.embed.embed import describe_images
    from edgevpr.train.embed.through_exits import ThroughExits
    from edgevpr.train.networks.load_network import load_network

    network, about, opened = load_network(model)
    root = Path(data)
    if protocol is None:
        database, queries = read_split(root)
        good: Sequence[NDArray[np.int64]] = positives(queries, database, radius_m)
    else:
        opened_data = open_protocol(protocol, root)
        root, database, queries = opened_data.root, opened_data.database, opened_data.queries
        good = opened_data.positives()
    if features is None and about.role == "query":
        raise UsageError(
            f"found a query network at {model}, expected the database's descriptors by the "
            "gallery network too: pass `features`, the folder that edgevpr embed wrote of it"
        )
    names = [each.name for each in about.exits]
    through = ThroughExits(load_anytime(model)[0], [*names, FULL]) if names else network
    described = describe_images(
        through, about.preprocess, root, queries, batch_size=batch_size, track=track
    )
    *by_exit, q = np.split(described, len(names) + 1, axis=1)
    if features is None:
        g = describe_images(
            network, about.preprocess, root, database, batch_size=batch_size, track=track
        )
    else:
        stored = Features(features)
        check_same_space(opened.space, str(model), stored.space, str(features))
        check_full_path(stored.record, features)
        g = stored.descriptors
        database, good = _as_stored(stored, database, good, features)
    similarity, rows = exact_search(q, g, 20)
    recall, curve = _score(similarity, rows, good, len(database))
    exits = []
    for each, found in zip(about.exits, by_exit, strict=True):
        near, ranked = exact_search(found, g, 20)
        scored = _score(near, ranked, good, len(database))
        exits.append(ExitRecall(each.name, each.share, *scored, rows=ranked, similarity=near))
    return Evaluated(
        recall=recall,
        curve=curve,
        root=root,
        queries=queries,
        gallery=database,
        rows=rows,
        similarity=similarity,
        positives=good,
        query_descriptors=q,
        gallery_descriptors=g,
        exits=tuple(exits),
    )


def score_again(done: Evaluated, protocol: str, data: Path) -> Evaluated:
    """The same answers scored by another protocol's rule for positives, nothing described again.

    Args:
        done: of another protocol on the same images, nordland-1 for nordland-3.
        data: as in ``evaluate``.

    Raises:
        UsageError: no such protocol, or its images are others.
        DataError: the counts are not the protocol's.
    """
    again = open_protocol(protocol, Path(data))
    row_of = {path: row for row, path in enumerate(done.gallery.paths)}
    to_done = np.array([row_of.get(path, -1) for path in again.database.paths])
    if (
        (again.root, again.queries.paths) != (done.root, done.queries.paths)
        or len(to_done) != len(row_of)
        or to_done.min() < 0
    ):
        raise UsageError(
            f"found other images for {protocol} than for the protocol before it, expected "
            "protocols of the same images, such as nordland-1 and nordland-3: pass one `protocol` "
            "at a time"
        )
    good = [np.sort(to_done[rows]) for rows in again.positives()]
    recall, curve = _score(done.similarity, done.rows, good, len(done.gallery))
    exits = []
    for each in done.exits:
        recalled, drawn = _score(each.similarity, each.rows, good, len(done.gallery))
        exits.append(replace(each, recall=recalled, curve=drawn))
    return replace(done, recall=recall, curve=curve, positives=good, exits=tuple(exits))


def _score(
    similarity: NDArray[np.float32],
    rows: NDArray[np.int64],
    good: Sequence[NDArray[np.int64]],
    database: int,
) -> tuple[Recall, Curve]:
    return (
        recall_at(rows, good, database=database),
        precision_recall_curve(similarity, rows, good),
    )


def _as_stored(
    stored: Features,
    database: ImageTable,
    good: Sequence[NDArray[np.int64]],
    features: Path,
) -> tuple[ImageTable, Sequence[NDArray[np.int64]]]:
    """The database in the order of its features, and positives to match.

    ``edgevpr embed`` names images relative to the folder it was given, database/ as a rule.
    """
    row_of = {path: row for row, path in enumerate(stored.table.paths)}
    rows = []
    for path in database.paths:
        row = row_of.get(path, row_of.get(path.partition("/")[2], -1))
        rows.append(row)
    if len(database) != len(stored.table) or min(rows) < 0:
        raise DataError(
            f"found features of {counted(len(stored.table), 'image')} at {features}, expected "
            f"those of the {len(database)} images of the database: run edgevpr embed on the "
            "database again"
        )
    to_stored = np.array(rows)
    order = np.argsort(to_stored)
    return database.take(order), [np.sort(to_stored[row]) for row in good]


@keeps_inputs("folder", filled=("folder",))
def save_descriptors(result: Evaluated, folder: Path) -> None:
    """queries.npy (Q, D) and database.npy (N, D) float16, and the two image tables."""
    for name, values in (
        ("queries", result.query_descriptors),
        ("database", result.gallery_descriptors),
    ):
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(values))
        write_atomic(folder / f"{name}.npy", buffer.getvalue())
    result.queries.save(folder / "queries.csv")
    result.gallery.save(folder / "database.csv")
