"""``edgevpr eval``."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console


def command(
    model: Annotated[Path, typer.Argument(help="Model artifact that describes the queries.")],
    data: Annotated[Path, typer.Argument(help="Folder with database/ and queries/.")],
    features: Annotated[
        Path | None,
        typer.Option(
            help="Gallery-network features of database/ (asymmetric); without them the model "
            "describes both sides (symmetric)."
        ),
    ] = None,
    radius: Annotated[float, typer.Option(help="Positives lie within this many metres.")] = 25.0,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 64,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Recall@K of a model by exact search in the full descriptor space."""
    from edgevpr.optional import require

    for package in ("torch", "timm", "safetensors"):
        require(package, extra="train")
    from edgevpr.train.evaluate import evaluate

    recall = evaluate(
        model, data, features=features, radius_m=radius, batch_size=batch_size, track=console.track
    )
    if json:
        console.emit_json(recall)
        return
    print(recall.line())
    console.note(
        f"#database: {recall.database}, #queries: {recall.queries}, "
        f"{recall.without_positives} of them without a positive within {radius:g} m (left out)"
    )
