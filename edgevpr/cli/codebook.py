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
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Learn the codebook of a model's tokens, for early exits.

    Next: edgevpr train IMAGES --anytime MODEL --codebook CODEBOOK --exits NAMES -o MODEL2.
    """
    from edgevpr.optional import require

    for package in ("torch", "lightning", "timm", "safetensors"):
        require(package, extra="train")
    from edgevpr.train.anytime.fit_codebook import fit_codebook

    try:
        with console.training_bar("codebook") as on_step:
            record = fit_codebook(
                config, output, resume=resume, tensorboard=tensorboard, on_step=on_step,
                track=console.track,
            )  # fmt: skip
    except KeyboardInterrupt:
        console.note("with --resume the same command goes on from the last finished epoch")
        raise
    if json:
        console.emit_json(record)
        return
    console.note(
        f"wrote {output}: {record['heads']} x {record['size']} prototypes; descriptors of composed "
        f"tokens have a cosine of {record['cosine']:.3f} to the model's, on {record['held_out']} "
        "images held out"
    )
