"""Verb ``edgevpr train``: a gallery or query network, or early exits of one."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgevpr.cli import console
from edgevpr.cli.options import takes
from edgevpr.train.config import TrainConfig


@takes(TrainConfig, arguments=("images",))
def command(
    config: TrainConfig,
    output: Annotated[Path, typer.Option("--output", "-o", help="Model artifact to write.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint of an interrupted run.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard's event files.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End where an input would be left out.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Train a gallery network, or a query network into its space.

    The defaults are the paper's: AdamW 5e-4 to 1e-4, 15 epochs, batch 64, 322 px, tau 0.05,
    gamma 15. With --anytime, a trained network gets early exits in place of being trained. Images
    that cannot be read, or have no place, are left out and named.
    """
    from edgevpr.data.left_out import LeftOut, summary
    from edgevpr.optional import require

    for package in ("torch", "lightning", "timm", "pytorch_metric_learning", "safetensors"):
        require(package, extra="train")
    from edgevpr.train.fit import fit
    from edgevpr.train.trainer import has_checkpoint

    left_out: list[LeftOut] = []
    name = f"{config.architecture.backbone} ({config.role})"
    if config.for_exits:
        name = f"exits {', '.join(config.early_exits.names)}"
    try:
        with console.training_bar(f"training {name}") as on_step:
            record = fit(
                config, output, resume=resume, tensorboard=tensorboard,
                left_out=None if strict else left_out, on_step=on_step, track=console.track,
            )  # fmt: skip
    except KeyboardInterrupt:
        if has_checkpoint(output):
            console.interrupted(
                "interrupted: finished epochs are kept, run the same command with --resume to go on"
            )
        raise
    if "parameters_m" not in record:
        return  # one of several processes, not the one that writes
    if json:
        console.emit_json(record)
        return
    if config.for_exits:
        console.note(f"wrote {output}: the model with {len(record['exits'])} early exits")
        _print_exits(output, record)
    else:
        console.note(
            f"wrote {output}: {config.role} network, {record['parameters_m']:.2f} M parameters, "
            f"loss {record['final_loss']:.3f}"
        )
    if left_out:
        console.note(summary(left_out))


def _print_exits(output: Path, record: dict[str, Any]) -> None:
    """A row for each exit: its share of the cost, what was chosen, and each method's figure."""
    exits, full = record["exits"], record["full"]
    (figure,) = full
    methods = [m for m in ("composition", "regression") if m in next(iter(exits.values()))]
    rows = [
        [name, f"{each['share']:.0%}", each["chosen"], *(each[m][figure] for m in methods)]
        for name, each in exits.items()
    ]
    name = {"validation_r1": "R@1", "cosine": "cosine"}[figure]
    console.table(
        str(output),
        ["exit", "cost", "chosen", *(f"{name} {m}" for m in methods)],
        [*rows, ["full", "100%", "", *[full[figure]] * len(methods)]],
    )
