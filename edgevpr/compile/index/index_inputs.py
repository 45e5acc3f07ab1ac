"""Inputs of an index: features of the map and of held-out queries, opened and checked."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevpr import __version__
from edgevpr.artifacts.features import Features, check_full_path
from edgevpr.artifacts.space import check_same_space
from edgevpr.compile.index.factories import IndexCandidate, candidates
from edgevpr.compile.index.fit_projection import index_width
from edgevpr.compile.index.forecast import index_bytes
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.errors import DataError, UsageError
from edgevpr.places.check_positions import check_positions

#: Options whose name in ``config.json`` is not their field's.
_CONFIG_NAMES = {
    "min_agreement": "target_agreement",
    "max_recall_drop": "target_recall",
    "max_minutes": "time_limit_min",
}


@dataclass(frozen=True)
class IndexInputs:
    """The features, and the indexes to build of them."""

    parts: list[Path]
    gallery: Features
    #: by the full path of the query network; None: a sample of the map stands in.
    queries: Features | None
    #: by its early exits, one each, in the order given.
    exits: list[Features]
    #: the widest index, d.
    width: int
    candidates: list[IndexCandidate]

    def identity(self, options: IndexOptions) -> list[Any]:
        """Inputs of the steps of a run; those of an earlier run with the same ones are reused.

        Steps of an exit are kept under the digest of its own features.
        """
        import faiss

        return [
            self.gallery.artifact.digest,
            "" if self.queries is None else self.queries.artifact.digest,
            self.width,
            options.radius_m,
            options.seed,
            faiss.__version__,
            __version__,
        ]

    def config(self, options: IndexOptions) -> dict[str, Any]:
        """For ``config.json``."""
        import faiss

        parts, queries = self.parts, self.queries
        return {
            "verb": "index",
            "features": str(parts[0]) if len(parts) == 1 else [str(part) for part in parts],
            "features_digest": self.gallery.artifact.digest,
            "queries": None if queries is None else str(queries.artifact.path),
            "exits": {each.record.exit: str(each.artifact.path) for each in self.exits},
            "options": {
                _CONFIG_NAMES.get(name, name): value
                for name, value in dataclasses.asdict(options).items()
            },
            "versions": {
                "edgevpr": __version__,
                "faiss": faiss.__version__,
                "numpy": np.__version__,
            },
        }


def open_inputs(
    path: Path, parts: list[Path], queries: Sequence[Path], options: IndexOptions
) -> IndexInputs:
    """Open the map's features at ``path``, made of ``parts``, and those of the queries.

    Raises:
        SpaceMismatchError: ``queries`` of another descriptor space.
        DataError: a map without images, or positions off the Earth.
        UsageError: a map described by an early exit; ``queries`` of an exit twice, of several
            networks, or of exits without the full path.
    """
    gallery = Features(path)
    named = " ".join(map(str, parts))
    count, dim = gallery.record.count, gallery.record.dim
    check_full_path(gallery.record, named)
    if count == 0:
        raise DataError(
            f"found no images in {named}, expected some: run edgevpr embed on a folder of them"
        )
    check_positions(gallery.table, named, "correct them and run edgevpr embed again", DataError)
    width = index_width(count, dim, options.dim)
    tried = _candidates(options, count, dim, width)
    asked = [Features(each) for each in queries]
    for shown, each in zip(queries, asked, strict=True):
        check_same_space(each.space, str(shown), gallery.space, named)
    full, exits = _by_exit(asked)
    return IndexInputs(parts, gallery, full, exits, width, tried)


def _by_exit(asked: list[Features]) -> tuple[Features | None, list[Features]]:
    """Queries by the full path, and by each early exit."""
    if not asked:
        return None, []
    found: dict[str, Features] = {}
    for each in asked:
        name, first = each.record.exit, asked[0]
        if name in found:
            raise UsageError(
                f"found {found[name].artifact.path} and {each.artifact.path}, both by "
                f"{_path_of(name)}, expected `queries` by each exit once: leave out one of them"
            )
        if each.record.model_digest != first.record.model_digest:
            raise UsageError(
                f"found {each.artifact.path} by another model than {first.artifact.path} "
                f"({each.record.model_digest[:12]} and {first.record.model_digest[:12]}), expected "
                "`queries` by the exits of one model: run edgevpr embed again with the model that "
                "the robot runs, for its full path and for each exit"
            )
        found[name] = each
    if "" not in found:
        raise UsageError(
            f"found `queries` by {', '.join(map(_path_of, found))} alone, expected those by the "
            "full path of that model too, which the index is chosen by: run edgevpr embed with "
            "no exit and pass `queries` once more"
        )
    return found.pop(""), list(found.values())


def _path_of(exit: str) -> str:
    return f"the early exit {exit}" if exit else "the full path"


def _candidates(options: IndexOptions, count: int, dim: int, width: int) -> list[IndexCandidate]:
    """The indexes to build: with a memory limit, only those predicted to come near it."""
    found = candidates(
        options.kind,
        options.refine,
        options.factory,
        count,
        width,
        search=options.goals.search,
        narrower=width < dim,
    )
    if options.max_memory_mb is None or options.factory:
        return found
    limit = 1.1e6 * options.max_memory_mb
    return [c for c in found if index_bytes(c, count) <= limit] or [
        min(found, key=lambda c: index_bytes(c, count))
    ]
