"""Operating points and confidence of a gallery for the early exits of its query network.

An exit answers in the full path's descriptor space, less exactly: the index is the same, but which
setting finds what exact search finds, and what a similarity is worth, are measured again with
queries described through that exit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.records import GalleryExit, OperatingPoint
from edgevpr.compile.index.factories import IndexCandidate
from edgevpr.compile.index.fit_confidence import fit_confidence
from edgevpr.compile.index.forecast import predicted_on
from edgevpr.compile.index.goals import pareto, pick_near
from edgevpr.compile.index.held_out import HeldOut, choose_queries, judge
from edgevpr.compile.index.index_file import read_mapped
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.compile.index.index_space import IndexSpace
from edgevpr.compile.index.operating_points import measure
from edgevpr.compile.index.resume import ResumeFolder
from edgevpr.progress import Track


@dataclass(frozen=True)
class ExitQueries:
    """Held-out images described through one exit, and their exact answers."""

    features: Features
    held: HeldOut


def hold_out_exits(
    gallery: Features,
    exits: Sequence[Features],
    options: IndexOptions,
    resume: ResumeFolder,
    track: Track,
) -> list[ExitQueries]:
    """Search the queries of every exit exactly in the full space."""
    found = []
    for each in exits:
        name = f"exact-{each.artifact.digest[:16]}.npy"
        held, _ = choose_queries(
            gallery, each, resume, options.radius_m, options.seed, track, name=name
        )
        found.append(ExitQueries(each, held))
    return found


def tune_exit(
    queries: ExitQueries,
    used: IndexCandidate,
    space: IndexSpace,
    gallery: Features,
    options: IndexOptions,
    resume: ResumeFolder,
    track: Track,
    say: Callable[[str], None],
) -> GalleryExit:
    """Measure the gallery's index with the queries of one exit, and fit their confidence.

    The goals are those of the index, held against exact search of the same queries. Where no
    setting meets them the exit gets the nearest, and ``say`` a sentence.

    Args:
        used: the gallery's index, in the folder of finished steps; ``space`` is its own.
    """
    held, record = queries.held, queries.features.record
    index = resume.index(used)
    digest = queries.features.artifact.digest
    measured = resume.measured(used, digest)
    if measured is None:
        measured = measure(
            read_mapped(index),
            space.project(held.descriptors),
            held,
            gallery.descriptors,
            factory=used.factory,
            index_mb=round(index.stat().st_size / 1e6, 3),
            track=track,
        )
        resume.finish(used, measured, digest)
    points, _ = predicted_on(options.target, measured)
    exact = judge(held.exact_rows, held, gallery.descriptors)
    chosen, met = pick_near(points, options.goals, exact.r1)
    if not met:
        say(_missed(record.exit, chosen, exact.r1))
    return GalleryExit(
        name=record.exit,
        model_digest=record.model_digest,
        chosen=chosen,
        points=pareto(points, chosen),
        exact_r1=exact.r1,
        exact_r5=exact.r5,
        tuning_queries=len(held.descriptors),
        without_positives=exact.without_positives,
        confidence=fit_confidence(
            read_mapped(index),
            chosen.parameters,
            queries.features,
            space.projection,
            gallery.table,
            radius_m=options.radius_m,
            known_precision=options.known_precision,
            seed=options.seed,
        ),
    )


def _missed(name: str, chosen: OperatingPoint, exact_r1: float | None) -> str:
    lost = (
        ""
        if chosen.r1 is None or exact_r1 is None
        else f", loses {exact_r1 - chosen.r1:.1f} points of R@1"
    )
    return (
        f"the goals that chose the index are not met at exit {name}: it is searched with "
        f"{chosen.parameters or 'its one setting'}, agrees in {chosen.exact_agreement:.1f}%{lost}"
    )
