"""Verb ``edgevpr embed``: descriptors of a folder of images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgevpr.cli import console
from edgevpr.printable import counted

if TYPE_CHECKING:
    from edgevpr.artifacts.records import FeaturesRecord
    from edgevpr.data.left_out import LeftOut


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
    exit: Annotated[
        str,
        typer.Option(
            help="Early exit of the model to describe the images by, for edgevpr index --queries; "
            "the full path when left out."
        ),
    ] = "",
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Spread over a Ray cluster: the address of its head, auto, or local. Machines "
            "see images and model under the same paths."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End where an input would be left out.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Describe the images of a folder with a network.

    Writes a features artifact. Images that cannot be read, or have no place, are left out and
    named. Interrupted, the same command goes on where it stopped.
    """
    from edgevpr.data.left_out import LeftOut, summary
    from edgevpr.optional import require

    for package in ("torch", "timm", "safetensors"):
        require(package, extra="train")
    left_out: list[LeftOut] = []
    used = None if strict else left_out
    record = (
        _by_shard(model, images, output, batch_size, workers, shard, exit, used)
        if cluster is None
        else _by_cluster(model, images, output, batch_size, cluster, shard, exit, used)
    )
    if record is None:
        console.note(f"part {shard} is done; {output} is written when all parts are")
        return
    if json:
        console.emit_json(record)
    else:
        console.note(
            f"wrote {output}: {counted(record.count, 'descriptor')} of {record.dim} dimensions"
        )
    if left_out:
        console.note(summary(left_out))


def _by_shard(
    model: Path,
    images: Path,
    output: Path,
    batch_size: int,
    workers: int,
    shard: str,
    exit: str,
    left_out: "list[LeftOut] | None",
) -> "FeaturesRecord | None":
    from edgevpr.train.embed.embed import embed

    return embed(
        model, images, output, batch_size=batch_size, workers=workers, shard=_part(shard),
        exit=exit, left_out=left_out, track=console.track,
    )  # fmt: skip


def _by_cluster(
    model: Path,
    images: Path,
    output: Path,
    batch_size: int,
    address: str,
    shard: str,
    exit: str,
    left_out: "list[LeftOut] | None",
) -> "FeaturesRecord":
    from edgevpr.errors import UsageError
    from edgevpr.train.embed.embed_on_cluster import embed_on_cluster

    if shard != "1/1":
        raise UsageError(
            f"found `shard` {shard} with `cluster` {address}, expected one of the two (a cluster "
            "divides the work itself): leave out `shard`"
        )
    return embed_on_cluster(
        model,
        images,
        output,
        cluster=address,
        batch_size=batch_size,
        exit=exit,
        left_out=left_out,
        track=console.track,
    )


def _part(text: str) -> tuple[int, int]:
    """2/4 -> (1, 4)."""
    from edgevpr.errors import UsageError

    number, slash, total = text.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise UsageError(f"found `shard` {text}, expected i/n with i from 1 to n: pass `shard` 1/4")
    return int(number) - 1, int(total)
