"""Verb ``edgevpr explain``: pictures of what networks look at."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console


def command(
    images: Annotated[Path, typer.Argument(help="Images with place ids.")],
    model: Annotated[
        list[Path],
        typer.Option("--model", "-m", help="A network to look into; repeatable, side by side."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    features: Annotated[
        Path | None,
        typer.Option(help="Gallery-network features of these images: the classifier of Grad-CAM."),
    ] = None,
    tokens: Annotated[
        bool,
        typer.Option(
            "--tokens",
            help="Paint the tokens of models with early exits, regressed beside composed beside "
            "full; needs no features.",
        ),
    ] = False,
    count: Annotated[int, typer.Option(help="Images in the picture.")] = 6,
    layout: Annotated[
        str, typer.Option(help="Map of the places: pca or tsne (scikit-learn).")
    ] = "pca",
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show where networks look and which places look alike.

    Grad-CAM with the memory bank as classifier: a row an image, a column a network. With --tokens,
    what early exits make of an image: similar tokens have similar colours.
    """
    from edgevpr.errors import UsageError
    from edgevpr.optional import require

    for package in ("torch", "timm", "safetensors"):
        require(package, extra="train")
    from edgevpr.train.evaluate.explain import LAYOUTS, explain_networks

    if features is None and not tokens:
        raise UsageError(
            "found neither `features` nor `tokens`, expected what to show: pass `features` for "
            "Grad-CAM, or `tokens` for a model with early exits"
        )
    if layout not in LAYOUTS:
        raise UsageError(
            f"found `layout` {layout}, expected one of {', '.join(LAYOUTS)}: change it"
        )
    written: dict[str, Path] = {}
    if tokens:
        from edgevpr.train.evaluate.paint_tokens import paint_tokens

        written["tokens"] = paint_tokens(model, images, output, count=count)
    if features is not None:
        explained = explain_networks(
            model, images, features, output, count=count, layout=LAYOUTS[layout]
        )
        written |= dataclasses.asdict(explained)
    if json:
        console.emit_json(written)
        return
    console.note(f"wrote {', '.join(map(str, written.values()))}")
