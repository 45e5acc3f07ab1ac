"""Preparation of a training run: its network, its module with the objective, its batches."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import nn

from edgevpr.artifacts.features import Features, check_full_path
from edgevpr.errors import DataError, UsageError
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import read_image
from edgevpr.printable import counted, shell_word
from edgevpr.progress import Track
from edgevpr.train.config import TrainConfig
from edgevpr.train.images import PlaceBatches, ShuffledBatches
from edgevpr.train.losses.arguments import BANK_LOSSES, NEIGHBOUR_LOSSES, loss_arguments
from edgevpr.train.losses.bank import Bank, build_bank
from edgevpr.train.losses.neighbours import precompute_neighbours, stored_neighbours
from edgevpr.train.losses.objectives import BankObjective, BaselineObjective, QueueObjective
from edgevpr.train.losses.through_index import through_index
from edgevpr.train.modules import GalleryTraining, QueryTraining
from edgevpr.train.networks.model import copy_aggregator, start_from
from edgevpr.train.networks.network import Network
from edgevpr.train.place_ids import neighbouring_places


@dataclass(frozen=True)
class Problem:
    """Module to train, with its batches."""

    module: GalleryTraining | QueryTraining
    batches: PlaceBatches | ShuffledBatches
    #: descriptor space of the features; None where a gallery network defines a new one.
    space: str | None = None
    #: for the training record: seconds that the bank and the neighbours took.
    prepared: dict[str, Any] = field(default_factory=dict)


def starting_network(config: TrainConfig) -> Network:
    """The network, with the weights that the settings start it from."""
    network = Network(config.architecture, (config.image_size, config.image_size))
    network = network.to(memory_format=torch.channels_last)
    if config.weights is not None:
        start_from(config.weights, network)
    if config.backbone_weights is not None:
        network.backbone.load_pretrained(config.backbone_weights)
    if config.aggregator_from is not None:
        copy_aggregator(config.aggregator_from, network)
    return network


def gallery_problem(network: Network, table: ImageTable, config: TrainConfig) -> Problem:
    """Metric learning, in batches of places with several images each."""
    per_batch = max(2, config.batch_size // config.images_per_place)
    batches = PlaceBatches(
        table.place,
        per_batch,
        config.images_per_place,
        config.seed,
        neighbouring_places(table, config),
    )
    return Problem(GalleryTraining(network, config, torch.from_numpy(table.place)), batches)


def query_problem(
    network: Network, table: ImageTable, config: TrainConfig, out: Path, track: Track
) -> Problem:
    """Training into the space of the gallery network's features.

    Raises:
        DataError: the features are of other images.
        UsageError: the network's descriptors have another width.
    """
    assert config.features is not None
    features = Features(config.features)
    _check_dim(network, features)
    started = time.perf_counter()
    bank, own, hidden = gallery_bank(features, table, config, track)
    known = (table.place >= 0).nonzero()[0]
    batches = ShuffledBatches(known, config.batch_size, config.seed)
    objective = _objective(config, features, bank, hidden, out, track)
    if config.through_index is not None:
        objective = through_index(objective, config.through_index, features, config.tau)
    return Problem(
        QueryTraining(network, config, features.descriptors, own, objective),
        batches,
        space=features.space,
        prepared={"prepared_s": round(time.perf_counter() - started, 2)},
    )


def gallery_bank(
    features: Features, table: ImageTable, config: TrainConfig, track: Track
) -> tuple[Bank, torch.Tensor, torch.Tensor | None]:
    """The memory bank of the features, and what its rows are to images and to each other.

    Returns:
        the bank; (N,) each image's own row (0 without a place); (M, K) for each row those that are
        no negatives of it, None where that is its own alone.

    Raises:
        DataError: the features are of other images.
        UsageError: an early exit described the images.
    """
    check_full_path(features.record, features.artifact.path)
    _check_same_images(table, features, config)
    bank = build_bank(features.descriptors, table.place, track=track)
    known = (table.place >= 0).nonzero()[0]
    own = torch.zeros(len(table), dtype=torch.long)
    own[known] = torch.from_numpy(bank.rows(table.place[known]))
    hidden = bank.hidden(neighbouring_places(table, config))
    return bank, own, None if hidden is None else torch.from_numpy(hidden)


def neighbours_file(out: Path) -> Path:
    """Precomputed neighbours, kept beside ``out`` while the run trains."""
    return out.with_name(f".{out.name}.neighbours.npy")


def _objective(
    config: TrainConfig,
    features: Features,
    bank: Bank,
    hidden: torch.Tensor | None,
    out: Path,
    track: Track,
) -> nn.Module:
    """Loss of a query network, with its memory bank, queue or neighbours."""
    if config.loss_name in BANK_LOSSES:
        return BankObjective(
            config.loss_name, config.loss_args, bank, config.tau, config.gamma, hidden
        )
    if config.loss_name == "queue":
        return QueueObjective(config.loss_args, bank, config.tau, config.gamma, hidden)
    neighbours = None
    if config.loss_name in NEIGHBOUR_LOSSES:
        top_k = int(loss_arguments(config.loss_name, config.loss_args)["top_k"])
        stored = neighbours_file(out)
        if rank_zero_only.rank == 0:
            stored.unlink(missing_ok=True)
            neighbours = precompute_neighbours(features.descriptors, top_k, stored, track=track)
        else:
            neighbours = stored_neighbours(stored, features.descriptors)
    return BaselineObjective(config.loss_name, config.loss_args, neighbours)


def embedded_images(table: ImageTable, features: Path, images: Path) -> ImageTable:
    """The table without the images that embed left out because they cannot be read."""
    described = set(Features(features, verify=False).table.paths)
    absent = [row for row, path in enumerate(table.paths) if path not in described]
    if not 0 < len(absent) < len(table) or not all(
        _is_unreadable(images / table.paths[row]) for row in absent
    ):
        return table
    return table.take(np.setdiff1d(np.arange(len(table)), absent))


def _is_unreadable(file: Path) -> bool:
    try:
        read_image(file)
    except DataError:
        return True
    return False


def _check_same_images(table: ImageTable, features: Features, config: TrainConfig) -> None:
    if table.paths != features.table.paths:
        raise DataError(
            f"found features of {counted(len(features.table), 'image')} at {config.features}, "
            f"expected those of the {len(table)} images in {config.images}: run edgevpr embed "
            f"GALLERY_MODEL {shell_word(config.images)} -o {shell_word(config.features)}"
        )


def _check_dim(network: Network, features: Features) -> None:
    if network.dim != features.record.dim:
        raise UsageError(
            f"found {network.dim}-d descriptors of the query network, expected "
            f"{features.record.dim}-d as the features: pass the gallery network's own "
            "`aggregator` and `aggregator_args`"
        )
