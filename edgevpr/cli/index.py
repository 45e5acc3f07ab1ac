"""Verb ``edgevpr index``: a gallery from features."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgevpr.cli import console
from edgevpr.cli.options import takes
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.printable import counted


@takes(IndexOptions)
def command(
    features: Annotated[
        list[Path],
        typer.Argument(
            help="Features of the map, by the gallery network (edgevpr embed); several are joined."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Gallery artifact to write.")],
    queries: Annotated[
        list[Path] | None,
        typer.Option(
            help="Features of held-out images by the query network: what the search is tuned "
            "with. Without them a sample of the map stands in, which is weaker evidence. "
            "Repeatable: once for the full path, once for each early exit (edgevpr embed --exit)."
        ),
    ] = None,
    *,
    options: IndexOptions,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Share the projection over a Ray cluster: the address of its head, auto, or "
            "local. Machines see the features under the same path."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Build a gallery: projection, index, measured operating points.

    A robot searches it with the descriptors of its query network.
    """
    from edgevpr.compile.index.build_index import build_gallery

    record = build_gallery(
        features, output, queries=queries, options=options, cluster=cluster, track=console.track,
        say=console.note,
    )  # fmt: skip
    if json:
        console.emit_json(record)
    else:
        _show(record)
    _remarks(record, options.min_agreement, asked=options.max_recall_drop is None)
    console.note(f"wrote {output}")


def _show(record: Any) -> None:
    def row(name: str, dim: int, *figures: Any) -> list[Any]:
        agreement, r1, r5, *rest = figures
        times = [None if t is None else f"{t:.3f}" for t in rest]
        return [name, dim, agreement, r1, r5, *times, *[None] * (columns - 5 - len(times))]

    predicted = bool(record.target)
    columns = 7
    rows = [
        row("exact, full space", record.dim, 100.0, record.exact_r1, record.exact_r5),
        row(
            "exact, index space",
            record.index_dim,
            record.projected_agreement,
            record.projected_r1,
            record.projected_r5,
        ),
    ]
    for point in record.points:
        name = point.parameters or point.factory or record.factory
        mark = " <- chosen" if point == record.chosen else ""
        last = point.predicted_ms_p50 if predicted else point.search_ms_p95
        times = [point.search_ms_p50, last]
        rows.append(
            row(
                f"{name}{mark}",
                point.index_dim or record.index_dim,
                point.exact_agreement,
                point.r1,
                point.r5,
                *times,
            )
        )
    last = "ms board" if predicted else "ms p95"
    console.table(
        f"{counted(record.count, 'image')}, {record.factory}, {record.bytes_per_image:g} bytes an "
        "image",
        ["search", "dim", "agreement %", "R@1", "R@5", "ms p50", last],
        rows,
    )
    near = [p for p in record.others if p.exact_agreement >= record.chosen.exact_agreement - 5]
    if near:
        console.table(
            "the other kinds, as far as they agree nearly as often; the rest is in gallery.json",
            ["index", "parameters", "agree %", "R@1", "ms", "MB"],
            [
                [
                    p.factory,
                    p.parameters,
                    p.exact_agreement,
                    p.r1,
                    f"{p.search_ms_p50:.3f}",
                    p.index_mb,
                ]
                for p in near
            ],
        )
    if record.exits:
        _show_exits(record)
    if predicted:
        console.note(f"ms board: {record.target_model}")


def _show_exits(record: Any) -> None:
    full = [["full", record.chosen, record.exact_r1, record.confidence]]
    exits = [[e.name, e.chosen, e.exact_r1, e.confidence] for e in record.exits]
    console.table(
        "early exits: each is searched with its own parameters and judged by its own confidence",
        ["exit", "search", "agreement %", "R@1 exact", "R@1", "R@5", "ms p50", "known %"],
        [
            [
                name,
                chosen.parameters or record.factory,
                chosen.exact_agreement,
                exact_r1,
                chosen.r1,
                chosen.r5,
                f"{chosen.search_ms_p50:.3f}",
                None if fitted is None else fitted.coverage,
            ]
            for name, chosen, exact_r1, fitted in exits + full
        ],
    )


def _remarks(record: Any, target: float, *, asked: bool) -> None:
    from edgevpr.runtime.judge import never_known

    if record.tuned_on == "gallery":
        console.note(
            f"tuned on {counted(record.tuning_queries, 'image')} of the map itself, each left out "
            "of its own search: pass --queries with the query network's features of held-out "
            "images for evidence about real queries"
        )
    elif record.tuned_on != "queries":
        console.note(
            "the queries were described by the gallery network, not by the one a robot runs: "
            "embed them with the query network for evidence about it"
        )
    if (fitted := record.confidence) is not None and fitted.threshold >= 1:
        console.note(f"no answer will be known: {never_known(fitted)}")
    elif fitted is not None:
        right = (
            "no answer known"
            if fitted.precision_known is None
            else f"{fitted.precision_known:.1f}% of those right"
        )
        console.note(
            f"known at confidence {fitted.threshold:.4g}: {fitted.coverage:.1f}% of the held-out "
            f"images, {right}; {fitted.false_known:.1f}% of images from outside the map called "
            f"known, R@100P {fitted.r_at_100p:.1f}"
        )
    elif record.tuned_on.startswith("queries"):
        console.note(
            "no confidence fitted, answers will not say whether they are known: that takes 20 "
            "right and 20 wrong answers among --queries, and scikit-learn (edgevpr[compile])"
        )
    if unsure := [each.name for each in record.exits if each.confidence is None]:
        console.note(
            f"no confidence fitted for the exits {', '.join(unsure)}: their answers will not say "
            "whether they are known; that takes 20 right and 20 wrong answers each"
        )
    if record.without_positives:
        console.note(
            f"{record.without_positives} of {record.tuning_queries} queries have no gallery image "
            "of their place; they are not in R@K"
        )
    if asked and record.chosen.exact_agreement < target:
        cause = (
            f"exact search in {record.index_dim} dimensions itself agrees in "
            f"{record.projected_agreement:.1f}%: raise --dim"
            if record.projected_agreement < target
            else "raise --dim, or choose a finer --factory"
        )
        console.note(
            f"no setting agrees with exact search in {target:g}% of the queries; chose "
            f"{record.chosen.exact_agreement:.1f}% ({cause})"
        )
