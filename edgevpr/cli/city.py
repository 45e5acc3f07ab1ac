"""Verb ``edgevpr city``: a synthetic city as data sets and a video."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.city.size import CitySize
from edgevpr.cli import console
from edgevpr.cli.options import takes


@takes(CitySize)
def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the city to.")],
    size: CitySize,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that draw.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Draw a synthetic city: data sets, and a drive as a video.

    Training places in the GSV-Cities layout, validation and test places with @utm names, all of
    different districts. Also prints what a nearest neighbour over 32 x 32 thumbnails scores on
    the test places, which any network has to beat.
    """
    from edgevpr.city.dataset import write_city
    from edgevpr.city.thumbnail import thumbnail_recall

    summary = write_city(output, seed=seed, size=size, workers=workers, track=console.track)
    score = thumbnail_recall(output / "images" / "test")
    if json:
        thumbnails = {f"r{k}": value for k, value in score.at.items()}
        console.emit_json({"output": str(output), **summary, "thumbnail": thumbnails})
        return
    counts = summary["images"]
    print(
        f"{output}: {counts['train']} training, {counts['val']} validation and {counts['test']} "
        f"test images, a drive of {size.drive_frames} frames"
    )
    print(f"32 x 32 thumbnails on the test places: {score.line()}")
