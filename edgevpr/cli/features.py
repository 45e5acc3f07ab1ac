"""Verbs ``edgevpr features ...``: descriptors that other programs computed."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console
from edgevpr.cli.verbs import new_app
from edgevpr.printable import counted

group = new_app(
    help="Import descriptors that another program computed.",
)


@group.command("import")
def import_file(
    descriptors: Annotated[
        Path, typer.Argument(help=".npy of (N, D) float32: row i describes image i.")
    ],
    images: Annotated[
        Path,
        typer.Argument(
            help="The N images in that order: .txt with a path a line, whose names are "
            "@easting@northing@..., or .csv as images.csv."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Features artifact to write.")],
    network: Annotated[
        str,
        typer.Option(
            help="Name of the network, any text: defines the descriptor space, with --checkpoint "
            "and D. The same for every file of that network."
        ),
    ] = "",
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File of its weights, whose digest tells versions of it apart."),
    ] = None,
    space_of: Annotated[
        Path | None,
        typer.Option(
            help="In place of a name: features or model artifact of the same network, whose "
            "descriptor space these descriptors join."
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder that the paths of the images become relative to, as edgevpr train and "
            "eval look for them; as they are when left out."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write descriptors of a .npy file as a features artifact.

    As VPR-methods-evaluation saves them: database_descriptors.npy, queries_descriptors.npy. Rows
    are divided by their length; those of zeros or NaN are refused. Import what a map and what a
    training set are described by under one --network, and both are of one descriptor space.
    """
    from edgevpr.data.descriptor_file import import_descriptors

    record = import_descriptors(
        descriptors,
        images,
        output,
        network=network,
        checkpoint=checkpoint,
        space_of=space_of,
        root=root,
    )
    if json:
        console.emit_json(record)
    else:
        console.note(
            f"wrote {output}: {counted(record.count, 'descriptor')} of {record.dim} dimensions"
        )
