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


#: Exits of ``write_anytime``: the first composes from a codebook, the second does not.
EXITS = ("1.0", "2.0")


def write_anytime(folder: Path) -> Path:
    """A model with exits in ``folder``, beside ``plain``, the one without that it was made of.

    All of it is drawn, not trained.
    """
    import torch

    from edgevpr.preprocess import Preprocess
    from edgevpr.train.anytime.anytime_network import AnytimeNetwork, ExitSpec, token_shape
    from edgevpr.train.anytime.codebook import Codebook
    from edgevpr.train.anytime.store import save_anytime
    from edgevpr.train.networks.model import save_model
    from edgevpr.train.networks.network import Network

    torch.manual_seed(3)
    size = (64, 64)
    network = Network(Architecture("resnet10t", 3, aggregator_args=BOQ), size).eval()
    save_model(
        folder / "plain", network, role="gallery", preprocess=Preprocess(*size), training={},
        config={},
    )  # fmt: skip
    specs = [ExitSpec(EXITS[0]), ExitSpec(EXITS[1], method="regression")]
    codebook = Codebook(4, 8, token_shape(network, size).width)
    anytime = AnytimeNetwork(network, specs, codebook, size)
    save_anytime(folder / "anytime", anytime, source=folder / "plain", training={}, config={})
    return folder / "anytime"
