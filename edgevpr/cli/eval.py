"""Verb ``edgevpr eval``: Recall@K and precision over recall of models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from edgevpr.cli import console

if TYPE_CHECKING:
    from edgevpr.train.evaluate.evaluate import Evaluated, ExitRecall


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
        list[str] | None,
        typer.Option(
            help="Check counts and take positives as this protocol (edgevpr data list); "
            "repeatable, for protocols of the same images."
        ),
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
    curve: Annotated[
        Path | None,
        typer.Option(
            help="CSV to write: precision and recall of the first model at each threshold of the "
            "best match's similarity."
        ),
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
    """Measure Recall@K and precision over recall by exact search in the full space.

    R@K is given of all queries, as papers have it, and of those that some database image answers.
    R@100P is the largest share of the latter that can be answered without an error, by a
    threshold on the best match's similarity; AUC-PR is the area under precision over recall.

    With several protocols, the files written are of the first.
    """
    from edgevpr.files import write_atomic
    from edgevpr.optional import require

    for package in ("torch", "timm", "safetensors"):
        require(package, extra="train")
    from edgevpr.train.evaluate.evaluate import evaluate, save_descriptors, score_again
    from edgevpr.train.evaluate.sheet import save_sheet

    first, others = (protocol[0], protocol[1:]) if protocol else (None, [])
    results = []
    for path in (model, *(compare or [])):
        done = evaluate(
            path, data, features=features, protocol=first, radius_m=radius_m,
            batch_size=batch_size, track=console.track,
        )  # fmt: skip
        results.append(Result(path, first, done))
        results += [Result(path, name, score_again(done, name, data)) for name in others]
        if path is model:
            if per_query is not None:
                write_atomic(per_query, done.to_csv().encode())
            if curve is not None:
                write_atomic(curve, done.curve.to_csv().encode())
            if sheet is not None:
                save_sheet(done, sheet)
            if save is not None:
                save_descriptors(done, save)
    if json:
        _emit(results, several=bool(compare), protocols=len(others) + 1)
    elif len(results) == 1 and not results[0].done.exits:
        print("\n".join(results[0].done.recall.lines()))
        figures = results[0].done.curve.figures()
        print(f"R@100P: {figures.r_at_100p:.1f}, AUC-PR: {figures.auc_pr:.3f}")
    else:
        _show(str(data), results, several=bool(compare), protocols=len(others) + 1)
    for result in results[: len(others) + 1]:
        _note(result, radius_m)


class Result(NamedTuple):
    """A model's answers, scored by one protocol."""

    model: Path
    protocol: str | None
    done: "Evaluated"


def _note(result: Result, radius_m: float) -> None:
    from edgevpr.places.positives import rule_of

    done, recall = result.done, result.done.recall
    if result.protocol is None:
        rule = rule_of(done.queries, done.gallery, radius_m)
    else:
        rule = f"by the rule of {result.protocol}"
    console.note(
        f"#database: {recall.database}, #queries: {recall.queries}, "
        f"{recall.without_positives} of them without a positive {rule} (not answerable)"
    )


def _emit(results: list[Result], *, several: bool, protocols: int) -> None:
    """Recall, figures and curve of the one model, or a list by model and protocol."""
    import msgspec

    def figures(found: "Evaluated | ExitRecall") -> dict[str, Any]:
        return {"precision_recall": found.curve.figures()}

    def rest(done: "Evaluated") -> dict[str, Any]:
        exits = [
            {"exit": each.exit, "share": each.share, "recall": each.recall, **figures(each)}
            for each in done.exits
        ]
        return {**figures(done), "curve": done.curve, **({"exits": exits} if exits else {})}

    documents = []
    for path, protocol, done in results:
        named: dict[str, Any] = {"model": str(path)} if several else {}
        if protocols > 1:
            named["protocol"] = protocol
        if named:
            documents.append({**named, "recall": done.recall, **rest(done)})
        else:
            documents.append(msgspec.to_builtins(done.recall) | rest(done))
    console.emit_json(documents if several or protocols > 1 else documents[0])


def _show(title: str, results: list[Result], *, several: bool, protocols: int) -> None:
    """Rows for each model, protocol and exit: of all queries, and of the answerable if fewer."""
    rows = []
    any_exit = any(result.done.exits for result in results)
    for path, protocol, done in results:
        start = [*([str(path)] if several else []), *([protocol] if protocols > 1 else [])]
        ways = [(each.exit, each.share, each.recall, each.curve) for each in done.exits]
        for name, share, recall, curve in [*ways, ("full", 1.0, done.recall, done.curve)]:
            way = [name, round(100 * share, 1)] if any_exit else []
            figures = curve.figures()
            ends = [round(figures.r_at_100p, 1), f"{figures.auc_pr:.3f}"]
            kinds = [("all" if recall.without_positives else "all, answerable", recall.of_all)]
            if recall.without_positives:
                kinds.append(("answerable", recall.at))
            for kind, at in kinds:
                rows.append([*start, *way, kind, *(round(v, 1) for v in at.values()), *ends])
    columns = [
        *(["model"] if several else []),
        *(["protocol"] if protocols > 1 else []),
        *(["exit", "cost %"] if any_exit else []),
        "queries", *(f"R@{k}" for k in results[0].done.recall.at), "R@100P", "AUC-PR",
    ]  # fmt: skip
    console.table(title, columns, rows)
