"""Verb ``edgevpr demo``: the whole chain on a synthetic city."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path(
        "demo-out"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the city and of every training.")] = 0,
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch",
            help="Train from random weights, not from the shipped ones (of other cities).",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Run the whole chain on a synthetic city, without downloads or GPU.

    Draws the city, trains a gallery and a query network with early exits, indexes the map,
    compiles for three targets, answers a drive, measures four configurations and every exit.
    Prints each command line.
    """
    from edgevpr.optional import require

    for package, extra in {
        "torch": "train", "lightning": "train", "timm": "train", "modelopt": "compile",
        "onnx": "compile", "tensorrt_rtx": "rtx", "jinja2": "report", "matplotlib": "report",
    }.items():  # fmt: skip
        require(package, extra=extra)
    from edgevpr.cli.main import run
    from edgevpr.demo.chain import run_demo

    summary = run_demo(
        output,
        seed=seed,
        from_scratch=from_scratch,
        run_verb=run,
        print_line=console.note,
    )
    if json:
        console.emit_json(summary)
        return
    columns = ["configuration", "R@1", "R@5", "engine", "p95", "search", "e2e", "p95", "bytes"]
    rows = [[_cell(getattr(row, n), n) for n in row.__struct_fields__] for row in summary.rows]
    console.table(
        "Test queries: recall in %, ms on this CPU (e2e: end to end), bytes an image",
        columns,
        rows,
    )
    console.table(
        "The query network left early, against the same map: cost is multiply-adds, known is % of "
        "queries",
        ["exit", "cost", "engine", "e2e", "p95", "R@1", "R@5", "known"],
        [[_cell(getattr(row, n), n) for n in row.__struct_fields__] for row in summary.exits],
    )
    console.note(
        f"thumbnail baseline R@1 {summary.thumbnail_r1:.1f}; drive: "
        f"{summary.drive.seen:.0f} % of the {summary.drive.seen_frames} frames whose view the map "
        "holds within 25 m"
    )
    console.note(f"{summary.seconds:.0f} s; open {summary.report}")


def _cell(value: object, name: str) -> object:
    """Recall with one decimal, bytes with none, milliseconds as the table prints them."""
    if not isinstance(value, float):
        return value
    if name in ("r1", "r5", "known"):
        return f"{value:.1f}"
    return f"{value:.0f}" if name == "bytes_per_image" else value
