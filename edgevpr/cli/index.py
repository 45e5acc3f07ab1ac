"""``edgevpr index``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgevpr.cli import console


def command(
    features: Annotated[
        Path, typer.Argument(help="Features of the map, by the gallery network (edgevpr embed).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Gallery artifact to write.")],
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Features of held-out images by the query network: what the search is tuned "
            "with. Without them a sample of the map stands in, which is weaker evidence."
        ),
    ] = None,
    dim: Annotated[int, typer.Option(help="Width of the index at most.")] = 256,
    factory: Annotated[
        str, typer.Option(help="FAISS factory string, verbatim; chosen from the map if left out.")
    ] = "",
    target_agreement: Annotated[
        float,
        typer.Option(help="Percent of queries whose exact first image must be found first."),
    ] = 99.0,
    radius: Annotated[
        float, typer.Option(help="Metres within which a gallery image answers a query.")
    ] = 25.0,
    seed: Annotated[int, typer.Option(help="Of samples and clusterings.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Build the map a robot searches: projection, IVFPQ index, measured operating points."""
    from edgevpr.compile.index import IndexOptions, build_gallery

    options = IndexOptions(
        dim=dim,
        factory=factory,
        target_agreement=target_agreement,
        radius_m=radius,
        seed=seed,
    )
    record = build_gallery(features, output, queries=queries, options=options, track=console.track)
    if json:
        console.emit_json(record)
    else:
        _show(record)
    _remarks(record, target_agreement)
    console.note(f"wrote {output}")


def _show(record: Any) -> None:
    rows: list[list[Any]] = [
        ["exact, full space", record.dim, 100.0, record.exact_r1, record.exact_r5, None, None],
        [
            "exact, index space",
            record.index_dim,
            record.projected_agreement,
            record.projected_r1,
            record.projected_r5,
            None,
            None,
        ],
    ]
    for point in record.points:
        mark = " <- chosen" if point == record.chosen else ""
        rows.append(
            [
                f"{point.parameters or record.factory}{mark}",
                record.index_dim,
                point.exact_agreement,
                point.r1,
                point.r5,
                f"{point.search_ms_p50:.3f}",
                f"{point.search_ms_p95:.3f}",
            ]
        )
    console.table(
        f"{record.count} images, {record.factory}, {record.bytes_per_image:g} bytes an image",
        ["search", "dim", "agreement %", "R@1", "R@5", "ms p50", "ms p95"],
        rows,
    )


def _remarks(record: Any, target: float) -> None:
    if record.tuned_on == "gallery":
        console.note(
            f"tuned on {record.tuning_queries} images of the map itself, each left out of its own "
            "search: pass --queries with the query network's features of held-out images for "
            "evidence about real queries"
        )
    elif record.tuned_on != "queries":
        console.note(
            "the queries were described by the gallery network, not by the one a robot runs: "
            "embed them with the query network for evidence about it"
        )
    if record.without_positives:
        console.note(
            f"{record.without_positives} of {record.tuning_queries} queries have no gallery image "
            "within --radius; they are not in R@K"
        )
    if record.chosen.exact_agreement < target:
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
