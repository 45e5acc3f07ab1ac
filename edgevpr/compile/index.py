"""``edgevpr index``: from gallery descriptors to a map, its operating points measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr import __version__, artifact
from edgevpr.compile.calibrate_confidence import fit_confidence
from edgevpr.compile.drift import RESIDUALS, save_residuals
from edgevpr.compile.faiss_index import build_index, choose_factory, write_index
from edgevpr.compile.projection_fit import fit_projection, index_width
from edgevpr.compile.tune import (
    HeldOut,
    choose,
    hold_out,
    judge,
    measure,
    nearest,
    pareto,
)
from edgevpr.errors import DataError, NumericsError, UsageError
from edgevpr.features import Features
from edgevpr.places import positives
from edgevpr.progress import Track, silent
from edgevpr.projection import Projection
from edgevpr.records import GalleryRecord
from edgevpr.space import check_same_space

#: Held-out queries measured with; more only sharpen the second decimal.
MAX_QUERIES = 1000
_PROJECT_BYTES = 1 << 28


@dataclass(frozen=True)
class IndexOptions:
    """How a gallery is built; the defaults suit a map of a thousand to a million images."""

    #: width d of the index at most (--dim).
    dim: int = 256
    #: FAISS factory string, verbatim (--factory); empty: chosen from N and d.
    factory: str = ""
    #: share of held-out queries, percent, whose exact first image must be found first.
    target_agreement: float = 99.0
    #: metres within which a gallery image answers a query (--radius).
    radius_m: float = 25.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise UsageError(f"found --dim {self.dim}, expected 1 or more: pass --dim 256")
        if not 0 < self.target_agreement <= 100:
            raise UsageError(
                f"found --target-agreement {self.target_agreement:g}, expected a percentage above "
                "0 and at most 100: pass --target-agreement 99"
            )
        if not self.radius_m > 0:
            raise UsageError(
                f"found --radius {self.radius_m:g}, expected metres above 0: pass --radius 25"
            )


def build_gallery(
    features: Path,
    out: Path,
    *,
    queries: Path | None = None,
    options: IndexOptions | None = None,
    track: Track = silent,
) -> GalleryRecord:
    """Build a gallery artifact at ``out`` from a features artifact.

    Args:
        features: descriptors of the map, by the gallery network.
        queries: descriptors of held-out images by the query network, in the same space. Without
            them a sample of the map stands in, each image left out of its own search: weaker
            evidence, because query and gallery then come from one network and one drive.

    Raises:
        SpaceMismatchError: ``queries`` are of another descriptor space.
        NumericsError: a descriptor holds NaN or infinity.
        DataError: the features are empty, or too few for ``options.factory``.
        UsageError: FAISS does not know ``options.factory``.
    """
    import faiss

    options = options or IndexOptions()
    gallery = Features(features)
    if gallery.record.count == 0:
        raise DataError(f"{features} holds no images: run edgevpr embed on a folder with some")
    with artifact.create(out, "gallery", space=gallery.space) as folder:
        held, tuned_on = _held_out(gallery, features, queries, options, track)
        width = index_width(gallery.record.count, gallery.record.dim, options.dim)
        projection = fit_projection(gallery.descriptors, width, seed=options.seed)
        vectors = _project(gallery, projection, track)
        projected = held.descriptors if projection is None else projection.apply(held.descriptors)
        factory = options.factory or choose_factory(len(vectors), width)
        index = build_index(vectors, factory, seed=options.seed, track=track)
        write_index(index, folder / "index.faiss")

        answers = vectors[held.exact_rows[:, 0]]
        save_residuals(folder / RESIDUALS, projected, answers)

        in_d = judge(nearest(projected, vectors, held.own), held, gallery.descriptors)
        exact = judge(held.exact_rows, held, gallery.descriptors)
        points = measure(index, projected, held, gallery.descriptors, track=track)
        chosen = choose(points, options.target_agreement)
        if projection is not None:
            projection.save(folder / "projection.npy")
        record = GalleryRecord(
            factory=factory,
            faiss_version=faiss.__version__,
            dim=gallery.record.dim,
            index_dim=width,
            count=len(vectors),
            bytes_per_image=round((folder / "index.faiss").stat().st_size / len(vectors), 1),
            projection=""
            if projection is None
            else artifact.sha256_file(folder / "projection.npy"),
            chosen=chosen,
            points=pareto(points, chosen),
            exact_r1=exact.r1,
            exact_r5=exact.r5,
            device=_device(),
            tuned_on=tuned_on,
            tuning_queries=len(held.descriptors),
            without_positives=exact.without_positives,
            projected_agreement=in_d.agreement,
            projected_r1=in_d.r1,
            projected_r5=in_d.r5,
            calibration=fit_confidence(
                index, chosen.parameters, queries, projection, gallery.table,
                radius_m=options.radius_m, seed=options.seed,
            ),
        )  # fmt: skip
        gallery.table.save(folder / "images.csv")
        artifact.write_json(folder / "gallery.json", record)
        artifact.write_json(folder / "config.json", _config(features, queries, gallery, options))
    return record


def _held_out(
    gallery: Features, path: Path, queries: Path | None, options: IndexOptions, track: Track
) -> tuple[HeldOut, str]:
    """The queries to measure with and their exact answers; ``GalleryRecord.tuned_on``."""
    rng = np.random.default_rng(options.seed)
    source = gallery if queries is None else Features(queries)
    if queries is not None:
        check_same_space(source.space, str(queries), gallery.space, str(path))
        if source.record.count == 0:
            raise DataError(f"{queries} holds no queries: run edgevpr embed on a folder with some")
    count = min(source.record.count, MAX_QUERIES)
    rows = np.sort(rng.choice(source.record.count, count, replace=False)).astype(np.int64)
    descriptors = np.asarray(source.descriptors[rows], np.float32)
    _check_finite(descriptors, source, rows)
    good = positives(source.table.take(rows), gallery.table, options.radius_m)
    if queries is None:
        good = [found[found != row] for found, row in zip(good, rows, strict=True)]
    held = hold_out(
        descriptors,
        gallery.descriptors,
        own=rows if queries is None else None,
        positives=good if any(len(found) for found in good) else None,
        track=track,
    )
    if queries is None:
        return held, "gallery"
    return held, "queries" if source.record.role == "query" else "queries by the gallery network"


def _project(gallery: Features, projection: Projection | None, track: Track) -> NDArray[np.float32]:
    """(N, d) float32 unit vectors: all descriptors in the index's own space."""
    count, dim = gallery.descriptors.shape
    width = dim if projection is None else projection.shape[0]
    vectors = np.empty((count, width), np.float32)
    step = max(_PROJECT_BYTES // (4 * dim), 1)
    starts = range(0, count, step)
    for start in track(starts, "projecting descriptors", len(starts)):
        block = np.asarray(gallery.descriptors[start : start + step], np.float32)
        _check_finite(block, gallery, np.arange(start, start + len(block)))
        vectors[start : start + step] = block if projection is None else projection.apply(block)
    return vectors


def _check_finite(
    descriptors: NDArray[np.float32], source: Features, rows: NDArray[np.int64]
) -> None:
    bad = ~np.isfinite(descriptors).all(axis=1)
    if bad.any():
        row = int(rows[np.argmax(bad)])
        raise NumericsError(
            f"the descriptor of {source.table.paths[row]} (row {row} of {source.artifact.path}) "
            "holds NaN or infinity, expected finite numbers: run edgevpr embed again in FP32"
        )


def _config(
    features: Path, queries: Path | None, gallery: Features, options: IndexOptions
) -> dict[str, Any]:
    import faiss

    return {
        "verb": "index",
        "features": str(features),
        "features_digest": gallery.artifact.digest,
        "queries": None if queries is None else str(queries),
        "options": msgspec.to_builtins(options),
        "versions": {
            "edgevpr": __version__,
            "faiss": faiss.__version__,
            "numpy": np.__version__,
        },
    }


def _device() -> str:
    """The processor that searched: what ``/proc/cpuinfo`` calls it, on one thread."""
    import platform

    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            name = value.strip()
            break
    return f"{name}, 1 thread"
