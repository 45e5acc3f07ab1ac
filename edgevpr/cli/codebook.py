"""Verb ``edgevpr codebook``: the codebook that early exits compose their tokens from."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console
from edgevpr.cli.options import takes
from edgevpr.train.anytime.codebook_config import CodebookConfig


@takes(CodebookConfig, arguments=("model", "images"))
def command(
    config: CodebookConfig,
    output: Annotated[Path, typer.Option("--output", "-o", help="Codebook artifact to write.")],
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
    """Learn the codebook of a model's tokens, for early exits.

    Next: edgevpr train IMAGES --anytime MODEL --codebook CODEBOOK --exits NAMES -o MODEL2.
    """
    from edgevpr.data.left_out import LeftOut, summary
    from edgevpr.optional import require

    for package in ("torch", "lightning", "timm", "safetensors"):
        require(package, extra="train")
    from edgevpr.train.anytime.fit_codebook import fit_codebook
    from edgevpr.train.trainer import has_checkpoint

    left_out: list[LeftOut] = []
    try:
        with console.training_bar("codebook") as on_step:
            record = fit_codebook(
                config, output, resume=resume, tensorboard=tensorboard,
                left_out=None if strict else left_out, on_step=on_step, track=console.track,
            )  # fmt: skip
    except KeyboardInterrupt:
        if has_checkpoint(output):
            console.interrupted(
                "interrupted: finished epochs are kept, run the same command with --resume to go on"
            )
        raise
    if json:
        console.emit_json(record)
        return
    console.note(
        f"wrote {output}: {record['heads']} x {record['size']} prototypes; descriptors of composed "
        f"tokens have a cosine of {record['cosine']:.3f} to the model's, on {record['held_out']} "
        "images held out"
    )
    if left_out:
        console.note(summary(left_out))
