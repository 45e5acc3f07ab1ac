"""``edgevpr embed``."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console


def command(
    model: Annotated[Path, typer.Argument(help="Model artifact (edgevpr train).")],
    images: Annotated[
        Path, typer.Argument(help="Folder of images: GSV-Cities, @utm names, EXIF or images.csv.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Features artifact to write.")],
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 64,
    workers: Annotated[int, typer.Option(help="Processes that read images.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print what was made.")] = False,
) -> None:
    """Describe every image of a folder with a network: the features artifact."""
    from edgevpr.optional import require

    for package in ("torch", "timm", "safetensors"):
        require(package, extra="train")
    from edgevpr.train.describe import embed

    record = embed(
        model, images, output, batch_size=batch_size, workers=workers, track=console.track
    )
    if json:
        console.emit_json(record)
        return
    console.note(f"wrote {output}: {record.count} descriptors of {record.dim} dimensions")
