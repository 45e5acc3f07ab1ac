"""Verb ``edgevpr train``: a gallery or query network."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgevpr.cli import console
from edgevpr.errors import UsageError


def command(
    images: Annotated[Path, typer.Argument(help="Training images with place ids.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model artifact to write.")],
    features: Annotated[
        Path | None,
        typer.Option(
            help="Gallery-network features of these images (edgevpr embed): trains a query "
            "network into their space. Without it, a gallery network is trained."
        ),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="A timm model, or dinov2_vits14, dinov2_vitb14, dinov2_vitl14.")
    ] = "mobilevitv2_100",
    out_index: Annotated[int, typer.Option(help="Its feature level; -1 is the deepest.")] = -1,
    backbone_args: Annotated[
        list[str] | None, typer.Option(help="Further timm argument, NAME=VALUE; repeatable.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Safetensors of a whole network of this architecture to start from."),
    ] = None,
    backbone_weights: Annotated[
        Path | None,
        typer.Option(
            help="Safetensors to start the backbone from; BatchNorm that was folded into its "
            "convolutions is taken out again, with 256 training images."
        ),
    ] = None,
    aggregator_from: Annotated[
        Path | None,
        typer.Option(help="Start the aggregator from this model's (the gallery network's)."),
    ] = None,
    aggregator: Annotated[str, typer.Option(help="boq, salad, supervlad, gem or mlp.")] = "boq",
    aggregator_args: Annotated[
        list[str] | None, typer.Option(help="Its argument, NAME=VALUE; repeatable.")
    ] = None,
    input_norm: Annotated[
        str, typer.Option(help="none, or instance: standardize each image's channels first.")
    ] = "none",
    loss: Annotated[
        str | None,
        typer.Option(
            help="Gallery networks: multi-similarity (default), supcon or crls. Query networks: "
            "implicit (default, Eq. 8), asymmetric, explicit, queue, csd, rop, msp, d3still, raml "
            "or regression."
        ),
    ] = None,
    loss_args: Annotated[
        list[str] | None, typer.Option(help="A number of the loss, NAME=VALUE; repeatable.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Folder with database/ and queries/, scored each epoch.")
    ] = None,
    validation_features: Annotated[
        Path | None, typer.Option(help="Gallery-network features of its database/.")
    ] = None,
    cities: Annotated[
        list[str] | None, typer.Option("--city", help="Only this city of GSV-Cities; repeatable.")
    ] = None,
    places_from: Annotated[
        str, typer.Option(help="ids, or gps: cells of a grid with bins of heading.")
    ] = "ids",
    cell: Annotated[float, typer.Option(help="Side of a cell in metres, for gps.")] = 10.0,
    heading_bin: Annotated[
        float, typer.Option(help="Width of a bin of heading in degrees, for gps.")
    ] = 30.0,
    image_size: Annotated[int, typer.Option(help="Height and width in pixels.")] = 322,
    epochs: Annotated[int, typer.Option(help="Passes over the images (or places).")] = 15,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 64,
    images_per_place: Annotated[
        int, typer.Option(help="Images of one place in a batch (gallery networks).")
    ] = 4,
    lr: Annotated[float, typer.Option(help="Learning rate of AdamW.")] = 5e-4,
    min_lr: Annotated[float, typer.Option(help="Where its cosine schedule ends.")] = 1e-4,
    warmup_steps: Annotated[int, typer.Option(help="Steps of linear warm-up.")] = 0,
    weight_decay: Annotated[float, typer.Option(help="AdamW's.")] = 1e-2,
    tau: Annotated[float, typer.Option(help="Temperature of the loss, Eq. 3 and 8.")] = 0.05,
    gamma: Annotated[
        float, typer.Option(help="Strength of the implicit augmentation, Eq. 8; 0 is Eq. 3.")
    ] = 15.0,
    mean: Annotated[
        tuple[float, float, float], typer.Option(help="RGB mean, of values in [0, 1].")
    ] = (0.485, 0.456, 0.406),
    std: Annotated[tuple[float, float, float], typer.Option(help="RGB deviation.")] = (
        0.229,
        0.224,
        0.225,
    ),
    crop: Annotated[float, typer.Option(help="Smallest random crop, share of a side.")] = 0.75,
    light: Annotated[float, typer.Option(help="Largest random change of exposure.")] = 0.3,
    precision: Annotated[str, typer.Option(help="auto, 32, bf16 or fp16.")] = "auto",
    qat: Annotated[
        bool,
        typer.Option(
            "--qat",
            help="Quantization-aware: round the layers that INT8 engines round. Finetunes a "
            "trained query network (--weights) that loses recall in INT8.",
        ),
    ] = False,
    through_index: Annotated[
        Path | None,
        typer.Option(
            help="Gallery to train a query network through: also find each image by what this "
            "index's product quantizer stores of it."
        ),
    ] = None,
    devices: Annotated[
        int, typer.Option(help="GPUs (or CPU processes) that share each batch, on each machine.")
    ] = 1,
    nodes: Annotated[int, typer.Option(help="Machines; start one command on each.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that read images.")] = 2,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint of an interrupted run.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard's event files.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Train a gallery network, or a query network into its space.

    The defaults are the paper's: AdamW 5e-4 to 1e-4, 15 epochs, batch 64, 322 px, tau 0.05,
    gamma 15.
    """
    from edgevpr.optional import require

    for package in ("torch", "lightning", "timm", "pytorch_metric_learning", "safetensors"):
        require(package, extra="train")
    from edgevpr.train.config import TrainConfig
    from edgevpr.train.fit import fit
    from edgevpr.train.networks.network import Architecture

    config = TrainConfig(
        images=images,
        architecture=Architecture(
            backbone=backbone,
            out_index=out_index,
            backbone_args=_named(backbone_args, "--backbone-args"),
            aggregator=aggregator,
            aggregator_args=_named(aggregator_args, "--aggregator-args"),
            input_norm=_one_of("--input-norm", input_norm, ("none", "instance")),
        ),
        features=features,
        validation=validation,
        validation_features=validation_features,
        weights=weights,
        backbone_weights=backbone_weights,
        aggregator_from=aggregator_from,
        cities=tuple(cities or ()),
        places=_one_of("--places-from", places_from, ("ids", "gps")),
        cell_m=cell,
        heading_deg=heading_bin,
        image_size=image_size,
        epochs=epochs,
        batch_size=batch_size,
        loss=loss or "",
        loss_args=_named(loss_args, "--loss-args"),
        images_per_place=images_per_place,
        lr=lr,
        min_lr=min_lr,
        warmup_steps=warmup_steps,
        weight_decay=weight_decay,
        tau=tau,
        gamma=gamma,
        precision=_one_of("--precision", precision, ("auto", "32", "bf16", "fp16")),
        qat=qat,
        through_index=through_index,
        devices=devices,
        nodes=nodes,
        workers=workers,
        seed=seed,
        mean=mean,
        std=std,
        crop=crop,
        light=light,
    )
    try:
        with console.training_bar(f"training {backbone} ({config.role})") as on_step:
            record = fit(
                config, output, resume=resume, tensorboard=tensorboard, on_step=on_step,
                track=console.track,
            )  # fmt: skip
    except KeyboardInterrupt:
        console.note("with --resume the same command goes on from the last finished epoch")
        raise
    if "parameters_m" not in record:
        return  # one of several processes, not the one that writes
    if json:
        console.emit_json(record)
        return
    console.note(
        f"wrote {output}: {config.role} network, {record['parameters_m']:.2f} M parameters, "
        f"loss {record['final_loss']:.3f}"
    )


def _one_of(flag: str, value: str, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise UsageError(f"{flag} {value}: expected one of {', '.join(choices)}")
    return value


def _named(arguments: list[str] | None, flag: str) -> dict[str, int | float | str]:
    """["row_dim=8"] -> {"row_dim": 8}."""
    named: dict[str, int | float | str] = {}
    for text in arguments or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {text!r}: expected NAME=VALUE, for example row_dim=8")
        named[name] = _value(value)
    return named


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
