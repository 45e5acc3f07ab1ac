"""Verb ``edgevpr models``: networks and their cost; published checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console


def command(
    published: Annotated[
        str | None,
        typer.Option(help="Write this published gallery network: boq-dinov2 or salad-dinov2."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Model artifact to write.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Its published checkpoint, when it is on disk; else it is fetched."),
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Digest to demand of the checkpoint.")] = None,
    image_size: Annotated[int, typer.Option(help="Side in pixels to count at.")] = 322,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List networks with their cost, or import a published checkpoint.

    Multiply-adds are those of matrix products, convolutions and attention for one image.
    """
    from edgevpr.errors import UsageError
    from edgevpr.optional import require

    for package in ("torch", "timm", "safetensors"):
        require(package, extra="train")
    if published is not None:
        from edgevpr.train.networks.published import import_published

        if output is None:
            raise UsageError(
                f"found --published {published} without -o, expected a folder to write it to: pass "
                "-o MODEL"
            )
        millions = import_published(
            published, output, checkpoint=checkpoint, sha256=sha256, track=console.track
        )
        console.note(f"wrote {output}: gallery network {published}, {millions:.1f} M parameters")
        return
    if output is not None or checkpoint is not None:
        raise UsageError(
            "found -o or --checkpoint alone, expected the network's name too: pass --published NAME"
        )
    from edgevpr.train.networks.cost import cost_of
    from edgevpr.train.networks.published import PUBLISHED, TABLE_2

    rows = []
    for name, architecture in TABLE_2.items():
        cost = cost_of(architecture, _side(name, image_size))
        rows.append(
            {
                "backbone": architecture.backbone,
                "aggregator": architecture.aggregator,
                "dim": cost.dim,
                "parameters_m": round(cost.parameters_m, 2),
                "multiply_adds_g": round(cost.multiply_adds_g, 2),
            }
        )
    if json:
        console.emit_json(rows)
        return
    console.table(
        f"Networks, at {image_size} px",
        ["backbone", "aggregator", "D", "parameters, M", "multiply-adds, G"],
        [list(row.values()) for row in rows],
    )
    console.note(
        f"published: {', '.join(PUBLISHED)} (edgevpr models --published NAME -o MODEL); any timm "
        "backbone can be trained: edgevpr train --backbone NAME --aggregator KIND"
    )


def _side(name: str, asked: int) -> int:
    """DINOv2 takes multiples of 14: the nearest."""
    return round(asked / 14) * 14 if name.startswith("dinov2") else asked
