"""Settings of training runs small enough for a CPU test."""

import dataclasses
from pathlib import Path

from edgevpr.train.config import TrainConfig
from edgevpr.train.networks.architecture import Architecture

BOQ = {"proj_channels": 64, "num_queries": 4, "num_layers": 1, "row_dim": 2}


def gallery_config(tiny: Path, **changes: object) -> TrainConfig:
    config = TrainConfig(
        images=tiny / "train",
        architecture=Architecture("resnet10t", 2, aggregator_args=BOQ),
        validation=tiny / "val",
        image_size=64,
        epochs=3,
        batch_size=8,
        images_per_place=2,
        precision="fp32",
        workers=0,
    )
    return dataclasses.replace(config, **changes)


def query_config(tiny: Path, out: Path, **changes: object) -> TrainConfig:
    return gallery_config(
        tiny,
        architecture=Architecture("resnet10t", 1, aggregator_args=BOQ),
        features=out / "features",
        validation_features=out / "database",
        **changes,
    )
