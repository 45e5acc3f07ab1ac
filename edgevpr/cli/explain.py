"""Verb ``edgevpr explain``: pictures of what networks look at."""

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
    features: Annotated[
        Path, typer.Option(help="Gallery-network features of these images: the classifier.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    count: Annotated[int, typer.Option(help="Images in the picture.")] = 6,
    layout: Annotated[
        str, typer.Option(help="Map of the places: pca or tsne (scikit-learn).")
    ] = "pca",
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show where networks look and which places look alike.

    Grad-CAM with the memory bank as classifier: a row an image, a column a network.
    """
    from edgevpr.errors import UsageError
    from edgevpr.optional import require

    for package in ("torch", "timm", "safetensors"):
        require(package, extra="train")
    from edgevpr.train.evaluate.explain import LAYOUTS, explain_networks

    if layout not in LAYOUTS:
        raise UsageError(
            f"found `layout` {layout}, expected one of {', '.join(LAYOUTS)}: change it"
        )
    written = explain_networks(model, images, features, output, count=count, layout=LAYOUTS[layout])
    if json:
        console.emit_json(written)
        return
    console.note(f"wrote {written.gradcam}, {written.places} and {written.nearest}")
