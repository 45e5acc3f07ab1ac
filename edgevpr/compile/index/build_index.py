"""Builder of gallery artifacts: projection, index, measured operating points, confidence model."""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr import __version__
from edgevpr.artifacts.features import Features, join
from edgevpr.artifacts.folder import write_artifact
from edgevpr.artifacts.gallery_files import INDEX, PROJECTION, TABLE
from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.artifacts.records import GalleryRecord, OperatingPoint
from edgevpr.artifacts.space import check_same_space
from edgevpr.compile.index.factories import IndexCandidate, candidates
from edgevpr.compile.index.faiss_build import build_file
from edgevpr.compile.index.fit_confidence import fit_confidence
from edgevpr.compile.index.fit_projection import index_width
from edgevpr.compile.index.forecast import index_bytes, measure_rate, predict, search_factor
from edgevpr.compile.index.goals import best, pareto, pick
from edgevpr.compile.index.held_out import (
    MAX_QUERIES,
    HeldOut,
    Quality,
    choose_queries,
    judge,
    nearest,
)
from edgevpr.compile.index.index_file import read_mapped
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.compile.index.operating_points import measure
from edgevpr.compile.index.residuals import RESIDUALS, save_residuals
from edgevpr.compile.index.resume import ResumeFolder, resume_folder
from edgevpr.compile.index.vectors import narrow, narrowed, project_gallery, projection_to
from edgevpr.device.cpu import processor
from edgevpr.device.targets import load_target
from edgevpr.errors import DataError
from edgevpr.guard import keeps_inputs
from edgevpr.places.check_positions import check_positions
from edgevpr.progress import Track, silent
from edgevpr.retrieval.projection import Projection

#: Below so many images every step takes seconds, and no forecast is made for one index.
_WORTH_A_PREDICTION = 20_000

#: Options whose name in ``config.json`` is not their field's.
_CONFIG_NAMES = {
    "min_agreement": "target_agreement",
    "max_recall_drop": "target_recall",
    "max_minutes": "time_limit_min",
}

Points = dict[IndexCandidate, list[OperatingPoint]]


@keeps_inputs("out")
def build_gallery(
    features: Path | Sequence[Path],
    out: Path,
    *,
    queries: Path | None = None,
    options: IndexOptions | None = None,
    cluster: str | None = None,
    track: Track = silent,
    say: Callable[[str], None] | None = None,
) -> GalleryRecord:
    """Build a gallery artifact at ``out`` from one features artifact or several.

    Args:
        features: descriptors of the map, by the gallery network; several are joined in order, see
            ``edgevpr.artifacts.features.join``.
        queries: descriptors of held-out images by the query network, in the same space. Without
            them a sample of the map stands in, each image left out of its own search: weaker
            evidence, because query and gallery then come from one network and one drive.
        cluster: address of a Ray cluster that shares the projecting, see ``edgevpr.ray_cluster``.
        say: called with each remark on the way, for example the forecast.

    Raises:
        SpaceMismatchError: ``queries``, or one of several ``features``, are of another descriptor
            space.
        NumericsError: a descriptor holds NaN or infinity.
        DataError: the features are empty, or too few for ``options.factory``.
        UsageError: FAISS does not know ``options.factory``; no index is within the limits; another
            run is building ``out``.

    What was finished is kept in ``.<out>.unfinished`` beside the output when the run ends early,
    reused by the next one with the same inputs (other goals and kinds are welcome), and removed
    when one ends well.
    """
    options = options or IndexOptions()
    say = say or (lambda remark: None)
    parts = [features] if isinstance(features, Path) else list(features)
    out = Path(out).resolve()
    with _as_one(parts, out) as path:
        inputs = _open_inputs(path, parts, queries, options)
        if len(inputs.candidates) > 1 or inputs.gallery.record.count > _WORTH_A_PREDICTION:
            say(_forecast(inputs))
        with (
            write_artifact(out, "gallery", space=inputs.gallery.space) as folder,
            resume_folder(out, _identity(inputs, options)) as resume,
        ):
            space = _index_space(inputs, options, resume, cluster, track)
            points = _measure_all(inputs, space, options, resume, track, say)
            return _write(folder, inputs, options, space, points, resume)


@contextlib.contextmanager
def _as_one(parts: list[Path], out: Path) -> Iterator[Path]:
    """A features artifact with all ``parts``: the only one itself, or one that lasts as long."""
    if len(parts) == 1:
        yield parts[0]
        return
    joined = out.with_name(f".{out.name}.joined")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        join(parts, joined)
        yield joined
    finally:
        shutil.rmtree(joined, ignore_errors=True)


@dataclass(frozen=True)
class _Inputs:
    """The features, opened and checked, and the indexes to build of them."""

    parts: list[Path]
    gallery: Features
    queries: Features | None
    #: the widest index, d.
    width: int
    candidates: list[IndexCandidate]


def _open_inputs(
    path: Path, parts: list[Path], queries: Path | None, options: IndexOptions
) -> _Inputs:
    gallery = Features(path)
    named = " ".join(map(str, parts))
    count, dim = gallery.record.count, gallery.record.dim
    if count == 0:
        raise DataError(
            f"found no images in {named}, expected some: run edgevpr embed on a folder of them"
        )
    check_positions(gallery.table, named, "correct them and run edgevpr embed again", DataError)
    width = index_width(count, dim, options.dim)
    tried = _candidates(options, count, dim, width)
    asked = None if queries is None else Features(queries)
    if asked is not None:
        check_same_space(asked.space, str(queries), gallery.space, named)
    return _Inputs(parts, gallery, asked, width, tried)


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


def _forecast(inputs: _Inputs) -> str:
    """One sentence: seconds and memory of the run, predicted."""
    record, tried = inputs.gallery.record, inputs.candidates
    queries = MAX_QUERIES if inputs.queries is None else inputs.queries.record.count
    cost = predict(tried, record.count, record.dim, queries, rate=measure_rate())
    took = f"{cost.seconds:.0f} s" if cost.seconds < 120 else f"{cost.seconds / 60:.0f} min"
    return (
        f"{len(tried)} index{'es' if tried[1:] else ''} to build and measure; predicted roughly: "
        f"{took} and {cost.memory_mb:,.0f} MB of memory"
    )


def _identity(inputs: _Inputs, options: IndexOptions) -> list[Any]:
    """Inputs of the steps of a run; those of an earlier run with the same ones are reused."""
    import faiss

    return [
        inputs.gallery.artifact.digest,
        "" if inputs.queries is None else inputs.queries.artifact.digest,
        inputs.width,
        options.radius_m,
        options.seed,
        faiss.__version__,
        __version__,
    ]


@dataclass(frozen=True)
class _IndexSpace:
    """The gallery and the held-out queries in the index's own space (d)."""

    held: HeldOut
    #: ``GalleryRecord.tuned_on``.
    tuned_on: str
    #: (D -> d); None where d is D.
    projection: Projection | None
    #: (N, d) float32 memory map.
    vectors: NDArray[np.float32]
    #: (Q, d) float32.
    queries: NDArray[np.float32]

    def narrowed_to(self, width: int, resume: ResumeFolder) -> "_IndexSpace":
        """The space of its first ``width`` directions."""
        if width == self.vectors.shape[1]:
            return self
        assert self.projection is not None
        return dataclasses.replace(
            self,
            projection=Projection(self.projection.mean, self.projection.matrix[:width]),
            vectors=narrowed(self.vectors, width, resume),
            queries=narrow(self.queries, width),
        )


def _index_space(
    inputs: _Inputs,
    options: IndexOptions,
    resume: ResumeFolder,
    cluster: str | None,
    track: Track,
) -> _IndexSpace:
    """Search the held-out queries exactly, fit the projection, project the gallery."""
    gallery = inputs.gallery
    held, tuned_on = choose_queries(
        gallery, inputs.queries, resume, options.radius_m, options.seed, track
    )
    projection = projection_to(gallery, inputs.width, options.seed, resume)
    path = resume.file(
        "vectors.npy", lambda path: project_gallery(gallery, projection, path, cluster, track)
    )
    queries = held.descriptors if projection is None else projection.apply(held.descriptors)
    return _IndexSpace(held, tuned_on, projection, np.load(path, mmap_mode="r"), queries)


def _measure_all(
    inputs: _Inputs,
    space: _IndexSpace,
    options: IndexOptions,
    resume: ResumeFolder,
    track: Track,
    say: Callable[[str], None],
) -> Points:
    """The operating points of every candidate; those an earlier run finished are not done again."""
    points: Points = {}
    started = time.monotonic()
    limit = np.inf if options.max_minutes is None else 60 * options.max_minutes
    for candidate in inputs.candidates:
        found = resume.measured(candidate)
        if found is not None:
            say(f"{candidate.factory} was finished by an earlier run")
        elif points and time.monotonic() - started > limit:
            say(f"{options.max_minutes:g} minutes are over: left out {candidate.factory}")
            continue
        else:
            own = space.narrowed_to(candidate.width, resume)
            path = resume.index(candidate)
            partial = path.with_suffix(".part")
            build_file(own.vectors, candidate.factory, partial, seed=options.seed, track=track)
            partial.replace(path)
            found = measure(
                read_mapped(path),
                own.queries,
                own.held,
                inputs.gallery.descriptors,
                factory=candidate.factory,
                index_mb=round(path.stat().st_size / 1e6, 3),
                track=track,
            )
            resume.finish(candidate, found)
        points[candidate] = found
    return points


def _with_predictions(points: Points, target: str) -> tuple[Points, str]:
    """The points with their times on the board ``target``, and how these are predicted."""
    factor, model = search_factor(load_target(target)) if target else (1.0, "")
    predicted = {
        candidate: [
            msgspec.structs.replace(
                p, predicted_ms_p50=round(p.search_ms_p50 * factor, 4) if model else None
            )
            for p in found
        ]
        for candidate, found in points.items()
    }
    return predicted, model


def _write(
    folder: Path,
    inputs: _Inputs,
    options: IndexOptions,
    space: _IndexSpace,
    measured: Points,
    resume: ResumeFolder,
) -> GalleryRecord:
    """Pick an operating point and fill ``folder`` with the gallery of its index."""
    exact = judge(space.held.exact_rows, space.held, inputs.gallery.descriptors)
    points, target_model = _with_predictions(measured, options.target)
    chosen = pick([p for found in points.values() for p in found], options.goals, exact.r1)
    used = next(c for c, found in points.items() if chosen in found)
    own = space.narrowed_to(used.width, resume)
    shutil.copyfile(resume.index(used), folder / INDEX)
    save_residuals(folder / RESIDUALS, own.queries, own.vectors[own.held.exact_rows[:, 0]])
    if own.projection is not None:
        own.projection.save(folder / PROJECTION)
    confidence = fit_confidence(
        read_mapped(folder / INDEX),
        chosen.parameters,
        inputs.queries,
        own.projection,
        inputs.gallery.table,
        radius_m=options.radius_m,
        known_precision=options.known_precision,
        seed=options.seed,
    )
    record = msgspec.structs.replace(
        _record(folder, inputs, own, points, used, chosen, exact),
        confidence=confidence,
        goals=options.goals.described(),
        target=options.target,
        target_model=target_model,
    )
    inputs.gallery.table.save(folder / TABLE)
    write_json(folder / "gallery.json", record)
    write_json(folder / "config.json", _config(inputs, options))
    return record


def _record(
    folder: Path,
    inputs: _Inputs,
    own: _IndexSpace,
    points: Points,
    used: IndexCandidate,
    chosen: OperatingPoint,
    exact: Quality,
) -> GalleryRecord:
    """The record of the index in ``folder``, whose space is ``own``, with its figures."""
    import faiss

    gallery, held = inputs.gallery, own.held
    projected = judge(nearest(own.queries, own.vectors, held.own), held, gallery.descriptors)
    size = (folder / INDEX).stat().st_size
    every = [point for found in points.values() for point in found]
    return GalleryRecord(
        factory=used.factory,
        faiss_version=faiss.__version__,
        dim=gallery.record.dim,
        index_dim=used.width,
        count=gallery.record.count,
        bytes_per_image=round(size / gallery.record.count, 1),
        projection="" if own.projection is None else sha256_file(folder / PROJECTION),
        chosen=chosen,
        points=pareto(points[used], chosen),
        exact_r1=exact.r1,
        exact_r5=exact.r5,
        device=f"{processor()}, 1 thread",
        tuned_on=own.tuned_on,
        tuning_queries=len(held.descriptors),
        without_positives=exact.without_positives,
        projected_agreement=projected.agreement,
        projected_r1=projected.r1,
        projected_r5=projected.r5,
        others=[p for p in best(every) if p not in points[used]],
    )


def _config(inputs: _Inputs, options: IndexOptions) -> dict[str, Any]:
    import faiss

    parts, queries = inputs.parts, inputs.queries
    return {
        "verb": "index",
        "features": str(parts[0]) if len(parts) == 1 else [str(part) for part in parts],
        "features_digest": inputs.gallery.artifact.digest,
        "queries": None if queries is None else str(queries.artifact.path),
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
