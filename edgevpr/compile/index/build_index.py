"""``edgevpr index``: from gallery descriptors to a map, its operating points measured."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr import __version__
from edgevpr.artifacts.features import Features, join
from edgevpr.artifacts.folder import write_artifact
from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.artifacts.records import GalleryRecord, OperatingPoint
from edgevpr.artifacts.space import check_same_space
from edgevpr.compile.index.factories import Candidate, candidates
from edgevpr.compile.index.faiss_build import build_file
from edgevpr.compile.index.fit_confidence import fit_confidence
from edgevpr.compile.index.fit_projection import index_width
from edgevpr.compile.index.forecast import index_bytes, measure_rate, predict, search_factor
from edgevpr.compile.index.goals import best, pareto, pick
from edgevpr.compile.index.held_out import MAX_QUERIES, HeldOut, held_out, judge, nearest
from edgevpr.compile.index.index_file import read_mapped
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.compile.index.operating_points import measure
from edgevpr.compile.index.residuals import RESIDUALS, save_residuals
from edgevpr.compile.index.resume import Work, open_work
from edgevpr.compile.index.vectors import narrow, narrowed, project, projection_to
from edgevpr.device.cpu import processor
from edgevpr.device.targets import load_target
from edgevpr.errors import DataError
from edgevpr.progress import Track, silent
from edgevpr.retrieval.projection import Projection

#: Below so many images everything takes seconds, and a forecast only noise.
_WORTH_A_PREDICTION = 20_000


Say = Callable[[str], None]


def _quiet(remark: str) -> None:
    """Nobody is listening."""


def build_gallery(
    features: Path | Sequence[Path],
    out: Path,
    *,
    queries: Path | None = None,
    options: IndexOptions | None = None,
    cluster: str | None = None,
    track: Track = silent,
    say: Say = _quiet,
) -> GalleryRecord:
    """Build a gallery artifact at ``out`` from one features artifact or several.

    Args:
        features: descriptors of the map, by the gallery network; several are joined in order, see
            ``edgevpr.artifacts.features.join``.
        queries: descriptors of held-out images by the query network, in the same space. Without
            them a sample of the map stands in, each image left out of its own search: weaker
            evidence, because query and gallery then come from one network and one drive.
        cluster: address of a Ray cluster that shares the projecting, see ``edgevpr.ray_cluster``.

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
    parts = [features] if isinstance(features, Path) else list(features)
    with _as_one(parts, Path(out).resolve()) as path:
        return _build(
            Features(path), parts, out, queries=queries, options=options, cluster=cluster,
            track=track, say=say,
        )  # fmt: skip


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


def _build(
    gallery: Features,
    parts: list[Path],
    out: Path,
    *,
    queries: Path | None,
    options: IndexOptions,
    cluster: str | None,
    track: Track,
    say: Say,
) -> GalleryRecord:
    import faiss

    named = " ".join(map(str, parts))
    count, dim = gallery.record.count, gallery.record.dim
    if count == 0:
        raise DataError(f"{named} holds no images: run edgevpr embed on a folder with some")
    width = index_width(count, dim, options.dim)
    tried = _candidates(options, count, dim, width)
    asked = None if queries is None else Features(queries)
    if asked is not None:
        check_same_space(asked.space, str(queries), gallery.space, named)
    inputs = [
        gallery.artifact.digest,
        "" if asked is None else asked.artifact.digest,
        width,
        options.radius_m,
        options.seed,
        faiss.__version__,
        __version__,
    ]
    factor, model = search_factor(load_target(options.target)) if options.target else (1.0, "")
    if len(tried) > 1 or count > _WORTH_A_PREDICTION:
        cost = predict(
            tried,
            count,
            dim,
            MAX_QUERIES if asked is None else asked.record.count,
            rate=measure_rate(),
        )
        say(
            f"{len(tried)} index{'es' if tried[1:] else ''} to build and measure; predicted "
            f"roughly: {_minutes(cost.seconds)} and {cost.memory_mb:,.0f} MB of memory"
        )
    out = Path(out).resolve()
    with (
        write_artifact(out, "gallery", space=gallery.space) as folder,
        open_work(out, inputs) as work,
    ):
        held, tuned_on = held_out(gallery, asked, work, options.radius_m, options.seed, track)
        projection = projection_to(gallery, width, options.seed, work)
        vectors = np.load(
            work.file(
                "vectors.npy", lambda path: project(gallery, projection, path, cluster, track)
            ),
            mmap_mode="r",
        )
        projected = held.descriptors if projection is None else projection.apply(held.descriptors)
        in_d = judge(nearest(projected, vectors, held.own), held, gallery.descriptors)
        exact = judge(held.exact_rows, held, gallery.descriptors)
        points = _measure_all(tried, vectors, projected, held, gallery, work, options, track, say)
        points = {
            candidate: [
                msgspec.structs.replace(
                    p, predicted_ms_p50=round(p.search_ms_p50 * factor, 4) if model else None
                )
                for p in found
            ]
            for candidate, found in points.items()
        }
        every = [point for found in points.values() for point in found]
        chosen = pick(every, options.goals, exact.r1)
        used = next(c for c, found in points.items() if chosen in found)
        shutil.copyfile(work.index(used), folder / "index.faiss")
        own = narrowed(vectors, used.width, work)
        if used.width != width and projection is not None:
            projection = Projection(projection.mean, projection.matrix[: used.width])
            nearest_rows = nearest(narrow(projected, used.width), own, held.own)
            in_d = judge(nearest_rows, held, gallery.descriptors)
        answers = own[held.exact_rows[:, 0]]
        save_residuals(folder / RESIDUALS, narrow(projected, used.width), answers)
        if projection is not None:
            projection.save(folder / "projection.npy")
        record = GalleryRecord(
            factory=used.factory,
            faiss_version=faiss.__version__,
            dim=dim,
            index_dim=used.width,
            count=count,
            bytes_per_image=round((folder / "index.faiss").stat().st_size / count, 1),
            projection=""
            if projection is None
            else sha256_file(folder / "projection.npy"),
            chosen=chosen,
            points=pareto(points[used], chosen),
            exact_r1=exact.r1,
            exact_r5=exact.r5,
            device=f"{processor()}, 1 thread",
            tuned_on=tuned_on,
            tuning_queries=len(held.descriptors),
            without_positives=exact.without_positives,
            projected_agreement=in_d.agreement,
            projected_r1=in_d.r1,
            projected_r5=in_d.r5,
            others=[p for p in best(every) if p not in points[used]],
            goals=options.goals.described(),
            target=options.target,
            target_model=model,
            calibration=fit_confidence(
                read_mapped(folder / "index.faiss"), chosen.parameters, queries, projection,
                gallery.table, radius_m=options.radius_m, known_precision=options.known_precision,
                seed=options.seed,
            ),
        )  # fmt: skip
        gallery.table.save(folder / "images.csv")
        write_json(folder / "gallery.json", record)
        write_json(folder / "config.json", _config(parts, queries, gallery, options))
    return record


def _candidates(options: IndexOptions, count: int, dim: int, width: int) -> list[Candidate]:
    """What is built: with a memory limit, only what is predicted to come near it."""
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


def _measure_all(
    tried: list[Candidate],
    vectors: NDArray[np.float32],
    projected: NDArray[np.float32],
    held: HeldOut,
    gallery: Features,
    work: Work,
    options: IndexOptions,
    track: Track,
    say: Say,
) -> dict[Candidate, list[OperatingPoint]]:
    """The operating points of every candidate; those an earlier run finished are not done again."""
    points: dict[Candidate, list[OperatingPoint]] = {}
    started = time.monotonic()
    limit = np.inf if options.max_minutes is None else 60 * options.max_minutes
    for candidate in tried:
        found = work.measured(candidate)
        if found is not None:
            say(f"{candidate.factory} was finished by an earlier run")
        elif points and time.monotonic() - started > limit:
            say(f"`max_minutes` {options.max_minutes:g} reached: left out {candidate.factory}")
            continue
        else:
            path = work.index(candidate)
            own = narrowed(vectors, candidate.width, work)
            partial = path.with_suffix(".part")
            build_file(own, candidate.factory, partial, seed=options.seed, track=track)
            partial.replace(path)
            found = measure(
                read_mapped(path),
                narrow(projected, candidate.width),
                held,
                gallery.descriptors,
                factory=candidate.factory,
                index_mb=round(path.stat().st_size / 1e6, 3),
                track=track,
            )
            work.finish(candidate, found)
        points[candidate] = found
    return points


def _config(
    parts: list[Path], queries: Path | None, gallery: Features, options: IndexOptions
) -> dict[str, Any]:
    import faiss

    return {
        "verb": "index",
        "features": str(parts[0]) if len(parts) == 1 else [str(part) for part in parts],
        "features_digest": gallery.artifact.digest,
        "queries": None if queries is None else str(queries),
        "options": msgspec.to_builtins(options),
        "versions": {
            "edgevpr": __version__,
            "faiss": faiss.__version__,
            "numpy": np.__version__,
        },
    }


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
