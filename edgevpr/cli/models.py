"""Verb ``edgevpr models``: networks and their cost; published checkpoints and ONNX graphs."""

from pathlib import Path
from typing import Annotated, Literal

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
    onnx: Annotated[
        Path | None,
        typer.Option(
            help="Write this ONNX graph as a gallery network: one input (batch, 3, H, W) of "
            "normalized RGB, one output (batch, D), float32."
        ),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option(help="Of --onnx: H or H,W in pixels, to which images are resized."),
    ] = None,
    mean: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            help="Of --onnx: RGB mean that is taken off, of values from 0 to 1; ImageNet's when "
            "left out."
        ),
    ] = None,
    std: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="Of --onnx: RGB deviation that is divided by; ImageNet's when left out."),
    ] = None,
    interpolation: Annotated[
        Literal["area", "linear", "cubic"] | None,
        typer.Option(
            help="Of --onnx: OpenCV's filter for resizing, area when left out: where images "
            "shrink, near to torchvision's antialiased filters, but not the same to the digit. "
            "linear and cubic do not antialias."
        ),
    ] = None,
    list_exits: Annotated[
        bool, typer.Option("--list-exits", help="List early exits with the cost of each.")
    ] = False,
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels to count at: 322; with --list-exits 320.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List networks with their cost, or import a published checkpoint or an ONNX graph.

    Multiply-adds are those of matrix products, convolutions and attention for one image.
    """
    from edgevpr.errors import UsageError
    from edgevpr.optional import require

    for package in ("torch", "timm", "safetensors"):
        require(package, extra="train")
    if onnx is not None:
        if published is not None or checkpoint is not None or list_exits:
            raise UsageError(
                "found --onnx with --published, --checkpoint or --list-exits, expected one of "
                "them: write one network at a time"
            )
        _write_onnx(onnx, output, input_size, mean, std, interpolation)
        return
    if any(given is not None for given in (input_size, mean, std, interpolation)):
        raise UsageError(
            "found --input-size, --mean, --std or --interpolation alone, expected the graph that "
            "they are of: pass --onnx NET.onnx"
        )
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
            "found -o or --checkpoint alone, expected the network too: pass --published NAME, or "
            "--onnx NET.onnx"
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


def _write_onnx(
    graph: Path,
    output: Path | None,
    input_size: str | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    interpolation: Literal["area", "linear", "cubic"] | None,
) -> None:
    from edgevpr.errors import UsageError
    from edgevpr.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
    from edgevpr.train.networks.onnx_network import import_onnx

    if output is None or input_size is None:
        raise UsageError(
            f"found --onnx {graph} without -o or --input-size, expected a folder to write it to "
            "and the size of its input: pass -o MODEL --input-size 240,320"
        )
    sides = input_size.split(",")
    if len(sides) > 2 or not all(side.strip().isdecimal() and int(side) for side in sides):
        raise UsageError(
            f"found --input-size {input_size}, expected H or H,W in pixels: pass --input-size 320 "
            "or --input-size 240,320"
        )
    if std is not None and min(std) <= 0:
        raise UsageError(
            f"found --std {' '.join(map(str, std))}, expected three numbers above 0: pass --std 1 "
            "1 1 for a network that is not divided by any"
        )
    preprocess = Preprocess(
        int(sides[0]),
        int(sides[-1]),
        interpolation=interpolation or "area",
        mean=mean or IMAGENET_MEAN,
        std=std or IMAGENET_STD,
    )
    record = import_onnx(graph, output, preprocess)
    console.note(
        f"wrote {output}: gallery network {graph.name}, {record.dim} dimensions, images resized to "
        f"{preprocess.height} x {preprocess.width} by OpenCV's {preprocess.interpolation} filter; "
        "it describes images (edgevpr embed, eval), and a robot runs a query network trained into "
        "its space (edgevpr train --features)"
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
