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
    list_exits: Annotated[
        bool, typer.Option("--list-exits", help="List early exits with the cost of each.")
    ] = False,
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels to count at: 322; with --list-exits 320.")
    ] = None,
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
        if list_exits:
            raise UsageError(
                "found --published with --list-exits, expected one of them: list the exits first, "
                "then write the network"
            )
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
    if list_exits:
        _exits(320 if image_size is None else image_size, json)
        return
    from edgevpr.train.networks.cost import cost_of
    from edgevpr.train.networks.published import PUBLISHED, TABLE_2

    image_size = 322 if image_size is None else image_size
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


def _exits(image_size: int, json: bool) -> None:
    from edgevpr.train.anytime.exit_cost import EXITS, costs_of
    from edgevpr.train.networks.published import TABLE_2

    rows = [
        (name, exit, cost)
        for name, architecture in TABLE_2.items()
        for exit, cost in costs_of(
            architecture, EXITS[architecture.backbone], _side(name, image_size)
        ).items()
    ]
    if json:
        console.emit_json(
            [
                {
                    "network": name,
                    "exit": exit,
                    "map": cost.map,
                    "multiply_adds_g": round(cost.multiply_adds_g, 3),
                    "share": round(cost.share, 3),
                }
                for name, exit, cost in rows
            ]
        )
        return
    console.table(
        f"Early exits, at {image_size} px (DINOv2: {_side('dinov2', image_size)})",
        ["network", "exit", "map", "multiply-adds, G", "share, %"],
        [
            [
                name,
                exit,
                "x".join(map(str, cost.map)),
                cost.multiply_adds_g,
                f"{100 * cost.share:.1f}",
            ]
            for name, exit, cost in rows
        ],
    )
    console.note(
        "with an MLP adapter, composition and aggregator; train exits with edgevpr codebook and "
        "edgevpr train --anytime MODEL"
    )


def _side(name: str, asked: int) -> int:
    """DINOv2 takes multiples of 14: the nearest."""
    return round(asked / 14) * 14 if name.startswith("dinov2") else asked
