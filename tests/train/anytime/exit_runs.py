"""Settings of codebook and exit runs small enough for a CPU test."""

import dataclasses
from pathlib import Path

from edgevpr.train.anytime.codebook_config import CodebookConfig
from edgevpr.train.anytime.exit_options import ExitOptions
from edgevpr.train.config import TrainConfig
from edgevpr.train.networks.architecture import Architecture

from ..runs import BOQ

#: Exits 1.0 and 2.0, on maps of 16 x 16 and 8 x 8 pixels; the aggregator reads 4 x 4.
ARCHITECTURE = Architecture("resnet10t", 3, aggregator_args=BOQ)
EXITS = "1.0,2.0"


def codebook_config(tiny: Path, out: Path, **changes: object) -> CodebookConfig:
    config = CodebookConfig(
        model=out / "model",
        images=tiny / "train",
        heads=4,
        size=8,
        epochs=2,
        batch_size=8,
        precision="fp32",
        workers=0,
    )
    return dataclasses.replace(config, **changes)


def exits_config(
    tiny: Path, out: Path, options: dict[str, object] | None = None, **changes: object
) -> TrainConfig:
    given = {"anytime": out / "model", "codebook": out / "codebook", "exits": EXITS}
    settings: dict[str, object] = {
        "images": tiny / "train",
        "epochs": 2,
        "batch_size": 8,
        "crop": 1.0,
        "light": 0.0,
        "precision": "fp32",
        "workers": 0,
    }
    early_exits = ExitOptions(**(given | (options or {})))
    return TrainConfig(architecture=Architecture(), early_exits=early_exits, **(settings | changes))
