"""Verb ``edgevpr eval``: Recall@K of models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgevpr.cli import console

if TYPE_CHECKING:
    from edgevpr.train.evaluate.evaluate import Evaluated


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
        results.append((path, done))
        rules.append(rule_of(done.queries, done.gallery, radius_m))
        if path is model:
            if per_query is not None:
                write_atomic(per_query, done.to_csv().encode())
            if sheet is not None:
                save_sheet(done, sheet)
            if save is not None:
                save_descriptors(done, save)
    recall = results[0][1].recall
    if json:
        _emit(results, several=bool(compare))
        return
    if any(done.exits for _, done in results):
        _show_exits(str(data), results, several=bool(compare))
    elif compare:
        console.table(
            str(data),
            ["model", *(f"R@{k}" for k in recall.at)],
            [
                [str(path), *(round(v, 1) for v in done.recall.at.values())]
                for path, done in results
            ],
        )
    else:
        print(recall.line())
    rule = rules[0] if protocol is None else f"by the rule of {protocol}"
    console.note(
        f"#database: {recall.database}, #queries: {recall.queries}, "
        f"{recall.without_positives} of them without a positive {rule} (left out)"
    )


def _emit(results: "list[tuple[Path, Evaluated]]", *, several: bool) -> None:
    """Recall of the one model, or a list by model; with the exits of those that have some."""
    import msgspec

    def exits(done: "Evaluated") -> dict[str, Any]:
        return {"exits": list(done.exits)} if done.exits else {}

    if several:
        console.emit_json(
            [{"model": str(path), "recall": d.recall, **exits(d)} for path, d in results]
        )
    else:
        (_, done), *_ = results
        console.emit_json(msgspec.to_builtins(done.recall) | exits(done))


def _show_exits(title: str, results: "list[tuple[Path, Evaluated]]", *, several: bool) -> None:
    """A row for each exit, earliest first, and for the full path."""
    rows = []
    for path, done in results:
        ways = [(each.exit, each.share, each.recall) for each in done.exits]
        for name, share, recall in [*ways, ("full", 1.0, done.recall)]:
            row = [name, round(100 * share, 1), *(round(v, 1) for v in recall.at.values())]
            rows.append([str(path), *row] if several else row)
    columns = ["exit", "cost %", *(f"R@{k}" for k in results[0][1].recall.at)]
    console.table(title, ["model", *columns] if several else columns, rows)
