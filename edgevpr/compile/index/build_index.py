"""Builder of gallery artifacts: projection, index, measured operating points, confidence model."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgevpr.artifacts.features import join
from edgevpr.artifacts.folder import write_artifact
from edgevpr.artifacts.gallery_files import INDEX, PROJECTION, TABLE
from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.artifacts.records import GalleryRecord, OperatingPoint
from edgevpr.compile.index.factories import IndexCandidate
from edgevpr.compile.index.faiss_build import build_file
from edgevpr.compile.index.fit_confidence import fit_confidence
from edgevpr.compile.index.forecast import measure_rate, predict, predicted_on
from edgevpr.compile.index.goals import best, pareto, pick
from edgevpr.compile.index.held_out import (
    MAX_QUERIES,
    Quality,
    judge,
    nearest,
)
from edgevpr.compile.index.index_file import read_mapped
from edgevpr.compile.index.index_inputs import IndexInputs, open_inputs
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.compile.index.index_space import IndexSpace, make_index_space
from edgevpr.compile.index.operating_points import measure
from edgevpr.compile.index.residuals import RESIDUALS, save_residuals
from edgevpr.compile.index.resume import ResumeFolder, resume_folder
from edgevpr.compile.index.tune_exits import ExitQueries, hold_out_exits, tune_exit
from edgevpr.device.cpu import processor
from edgevpr.guard import keeps_inputs
from edgevpr.progress import Track, silent

#: Below so many images every step takes seconds, and no forecast is made for one index.
_WORTH_A_PREDICTION = 20_000

Points = dict[IndexCandidate, list[OperatingPoint]]


@keeps_inputs("out")
def build_gallery(
    features: Path | Sequence[Path],
    out: Path,
    *,
    queries: Path | Sequence[Path] | None = None,
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
            evidence, because query and gallery then come from one network and one drive. Of a
            network with early exits several: of its full path, which the index is chosen by, and
            of each exit, which gets an operating point and a confidence model of its own in
            ``GalleryRecord.exits``. The goals hold for an exit as far as this index reaches them.
        cluster: address of a Ray cluster that shares the projecting, see ``edgevpr.ray_cluster``.
        say: called with each remark on the way, for example the forecast.

    Raises:
        SpaceMismatchError: ``queries``, or one of several ``features``, are of another descriptor
            space.
        NumericsError: a descriptor holds NaN or infinity.
        DataError: the features are empty, or too few for ``options.factory``.
        UsageError: FAISS does not know ``options.factory``; no index is within the limits; another
            run is building ``out``; ``queries`` of an exit twice, of several networks, or without
            those of the full path.

    What was finished is kept in ``.<out>.unfinished`` beside the output when the run ends early,
    reused by the next one with the same inputs (other goals and kinds are welcome), and removed
    when one ends well.
    """
    options = options or IndexOptions()
    say = say or (lambda remark: None)
    parts = [features] if isinstance(features, Path) else list(features)
    asked = [queries] if isinstance(queries, Path) else list(queries or ())
    out = Path(out).resolve()
    with _as_one(parts, out) as path:
        inputs = open_inputs(path, parts, asked, options)
        if len(inputs.candidates) > 1 or inputs.gallery.record.count > _WORTH_A_PREDICTION:
            say(_forecast(inputs))
        with (
            write_artifact(out, "gallery", space=inputs.gallery.space) as folder,
            resume_folder(out, inputs.identity(options)) as resume,
        ):
            gallery, own = inputs.gallery, inputs.queries
            space = make_index_space(gallery, own, inputs.width, options, resume, cluster, track)
            exits = hold_out_exits(gallery, inputs.exits, options, resume, track)
            points = _measure_all(inputs, space, options, resume, track, say)
            record = _write(folder, inputs, options, space, points, exits, resume, track, say)
            write_json(folder / "gallery.json", record)
            write_json(folder / "config.json", inputs.config(options))
            return record


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


def _forecast(inputs: IndexInputs) -> str:
    """One sentence: seconds and memory of the run, predicted."""
    record, tried = inputs.gallery.record, inputs.candidates
    queries = MAX_QUERIES if inputs.queries is None else inputs.queries.record.count
    exits = [min(each.record.count, MAX_QUERIES) for each in inputs.exits]
    cost = predict(tried, record.count, record.dim, queries, rate=measure_rate(), exits=exits)
    took = f"{cost.seconds:.0f} s" if cost.seconds < 120 else f"{cost.seconds / 60:.0f} min"
    return (
        f"{len(tried)} index{'es' if tried[1:] else ''} to build and measure; predicted roughly: "
        f"{took} and {cost.memory_mb:,.0f} MB of memory"
    )


def _measure_all(
    inputs: IndexInputs,
    space: IndexSpace,
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


def _write(
    folder: Path,
    inputs: IndexInputs,
    options: IndexOptions,
    space: IndexSpace,
    measured: Points,
    exits: Sequence[ExitQueries],
    resume: ResumeFolder,
    track: Track,
    say: Callable[[str], None],
) -> GalleryRecord:
    """Pick an operating point and fill ``folder`` with the gallery of its index."""
    exact = judge(space.held.exact_rows, space.held, inputs.gallery.descriptors)
    points, target_model = {}, ""
    for candidate, found in measured.items():
        points[candidate], target_model = predicted_on(options.target, found)
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
        exits=[
            tune_exit(each, used, own, inputs.gallery, options, resume, track, say)
            for each in exits
        ],
        goals=options.goals.described(),
        target=options.target,
        target_model=target_model,
    )
    inputs.gallery.table.save(folder / TABLE)
    return record


def _record(
    folder: Path,
    inputs: IndexInputs,
    own: IndexSpace,
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
