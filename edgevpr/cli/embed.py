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
    shard: Annotated[
        str,
        typer.Option(
            help="i/n: describe the i-th of n parts. Start one process a part, on machines that "
            "share the output's file system; the last one writes it."
        ),
    ] = "1/1",
    json: Annotated[bool, typer.Option("--json", help="Print what was made.")] = False,
) -> None:
    """Describe every image of a folder with a network: the features artifact.

    Interrupted, the same command goes on where it stopped.
    """
    from edgevpr.optional import require

    for package in ("torch", "timm", "safetensors"):
        require(package, extra="train")
    from edgevpr.train.describe import embed

    part = _part(shard)
    record = embed(
        model, images, output, batch_size=batch_size, workers=workers, shard=part,
        track=console.track,
    )  # fmt: skip
    if record is None:
        console.note(f"part {shard} is done; {output} is written when all parts are")
        return
    if json:
        console.emit_json(record)
        return
    console.note(f"wrote {output}: {record.count} descriptors of {record.dim} dimensions")


def _part(text: str) -> tuple[int, int]:
    """2/4 -> (1, 4)."""
    from edgevpr.errors import UsageError

    number, slash, total = text.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise UsageError(f"--shard {text}: expected i/n with i from 1 to n, for example 1/4")
    return int(number) - 1, int(total)
