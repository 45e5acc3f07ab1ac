"""Verb ``edgevpr eval``: Recall@K of models."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console


def command(
    model: Annotated[Path, typer.Argument(help="Model artifact that describes the queries.")],
    data: Annotated[Path, typer.Argument(help="Folder with database/ and queries/.")],
    features: Annotated[
        Path | None,
        typer.Option(
            help="Gallery-network features of database/ (asymmetric); without them the model "
            "describes both sides (symmetric)."
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Check counts and take positives as this protocol (edgevpr data list)."),
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="A further model for the same table; repeatable."),
    ] = None,
    radius_m: Annotated[
        float,
        typer.Option("--radius", help="Metres within which a database image answers a query."),
    ] = 25.0,
    per_query: Annotated[
        Path | None, typer.Option(help="CSV to write: a line a query, of the first model.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Picture (.jpg, .png) to write: hits and misses of the first model."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Folder to write the first model's descriptors to.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 64,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Measure Recall@K of a model by exact search in the full space."""
    from edgevpr.files import write_atomic
    from edgevpr.optional import require

    for package in ("torch", "timm", "safetensors"):
        require(package, extra="train")
    from edgevpr.places.positives import rule_of
    from edgevpr.train.evaluate.evaluate import evaluate, save_descriptors
    from edgevpr.train.evaluate.sheet import save_sheet

    results, rules = [], []
    for path in (model, *(compare or [])):
        done = evaluate(
            path, data, features=features, protocol=protocol, radius_m=radius_m,
            batch_size=batch_size, track=console.track,
        )  # fmt: skip
        results.append((path, done.recall))
        rules.append(rule_of(done.queries, done.gallery, radius_m))
        if path is model:
            if per_query is not None:
                write_atomic(per_query, done.to_csv().encode())
            if sheet is not None:
                save_sheet(done, sheet)
            if save is not None:
                save_descriptors(done, save)
    recall = results[0][1]
    if json:
        figures = [{"model": str(path), "recall": each} for path, each in results]
        console.emit_json(figures if compare else recall)
        return
    if compare:
        console.table(
            str(data),
            ["model", *(f"R@{k}" for k in recall.at)],
            [[str(path), *(round(v, 1) for v in each.at.values())] for path, each in results],
        )
    else:
        print(recall.line())
    rule = rules[0] if protocol is None else f"by the rule of {protocol}"
    console.note(
        f"#database: {recall.database}, #queries: {recall.queries}, "
        f"{recall.without_positives} of them without a positive {rule} (left out)"
    )
