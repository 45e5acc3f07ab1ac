"""``edgevpr train``: from images (and gallery features) to a model artifact."""

import hashlib
import logging
import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import lightning
import msgspec
import numpy as np
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from torch import nn

from edgevpr import __version__
from edgevpr.artifacts.features import Features
from edgevpr.data import read_images
from edgevpr.errors import DataError, UsageError
from edgevpr.files import write_atomic
from edgevpr.optional import require
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.progress import Track, silent
from edgevpr.train.config import TrainConfig
from edgevpr.train.images import Augment, Images, PlaceBatches, ShuffledBatches, loader, spread_out
from edgevpr.train.losses.arguments import BANK_LOSSES, NEIGHBOUR_LOSSES, loss_arguments
from edgevpr.train.losses.bank import Bank, build_bank, places_from_positions
from edgevpr.train.losses.neighbours import precompute_neighbours, stored_neighbours
from edgevpr.train.losses.objectives import (
    BankObjective,
    BaselineObjective,
    QueueObjective,
)
from edgevpr.train.losses.through_index import through_index
from edgevpr.train.modules import GalleryTraining, QueryTraining
from edgevpr.train.networks.batch_norm import unfold_batch_norm
from edgevpr.train.networks.model import copy_aggregator, save_model, start_from
from edgevpr.train.networks.network import Network, parameters_m
from edgevpr.train.qat import rounded_to_int8
from edgevpr.train.record import Recorder, Step


def fit(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    tensorboard: Path | None = None,
    on_step: Callable[[Step], None] | None = None,
    track: Track = silent,
) -> dict[str, Any]:
    """Train and write the model artifact; returns its training record.

    A checkpoint is kept beside ``out`` after every epoch and removed at the end; with ``resume``
    the run goes on from it and ends with the same weights, to the bit, as one never interrupted.
    Of several processes, the first one writes; the others return what they know of the run.

    Args:
        tensorboard: folder for TensorBoard's event files; losses, learning rate and validation
            recall also end up in the artifact's ``metrics.csv`` and ``model.json``.

    Raises:
        UsageError: ``resume`` with other settings than the checkpoint's.
        SpaceMismatchError: validation features of another gallery network.
        NumericsError: the loss became NaN or infinite.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Workers read the images; OpenCV's own threads would only fight the network's for the cores.
    cv2.setNumThreads(0)
    lightning.seed_everything(config.seed, verbose=False)
    preprocess = Preprocess(config.image_size, config.image_size, mean=config.mean, std=config.std)
    table = _placed(read_images(config.images), config)
    size = (config.image_size, config.image_size)
    network = Network(config.architecture, size).to(memory_format=torch.channels_last)
    if config.weights is not None:
        start_from(config.weights, network)
    if config.backbone_weights is not None:
        network.backbone.load_pretrained(config.backbone_weights)
    if config.aggregator_from is not None:
        copy_aggregator(config.aggregator_from, network)
    module: GalleryTraining | QueryTraining
    batches: PlaceBatches | ShuffledBatches
    space, prepared = None, dict[str, Any]()
    if config.features is None:
        per_batch = max(2, config.batch_size // config.images_per_place)
        batches = PlaceBatches(table.place, per_batch, config.images_per_place, config.seed)
        module = GalleryTraining(network, config, torch.from_numpy(table.place))
    else:
        features = Features(config.features)
        space = features.space
        _check_same_images(table, features, config)
        _check_dim(network, features)
        started = time.perf_counter()
        bank = build_bank(features.descriptors, table.place, track=track)
        known = (table.place >= 0).nonzero()[0]
        own = torch.zeros(len(table), dtype=torch.long)
        own[known] = torch.from_numpy(bank.rows(table.place[known]))
        batches = ShuffledBatches(known, config.batch_size, config.seed)
        objective = _objective(config, features, bank, out, track)
        if config.through_index is not None:
            objective = through_index(objective, config.through_index, features, config.tau)
        prepared = {"prepared_s": round(time.perf_counter() - started, 2)}
        module = QueryTraining(network, config, features.descriptors, own, objective)
    augment = Augment(config.crop, config.light) if config.crop < 1 or config.light > 0 else None
    images = Images(config.images, table.paths, preprocess, augment, config.seed)
    if config.backbone_weights is not None:
        shown = Images(config.images, table.paths, preprocess)
        unfolded = unfold_batch_norm(network, spread_out(shown))
        prepared |= {"batch_norm_unfolded": unfolded} if unfolded else {}
    record = Recorder(config, preprocess, space, on_step)
    checkpoints = out.with_name(f".{out.name}.checkpoint")
    checkpoint = _prepare_checkpoints(checkpoints, config, resume)
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=config.devices,
        num_nodes=config.nodes,
        strategy="ddp" if config.devices * config.nodes > 1 else "auto",
        sync_batchnorm=torch.cuda.is_available() and config.devices * config.nodes > 1,
        max_epochs=config.epochs,
        precision=_precision(config.precision),
        callbacks=[
            record,
            *([LearningRateMonitor()] if tensorboard is not None else []),
            ModelCheckpoint(dirpath=checkpoints, filename="last", enable_version_counter=False),
        ],
        logger=_tensorboard(tensorboard),
        log_every_n_steps=10,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        gradient_clip_val=1.0,
    )
    rounding: AbstractContextManager[list[str]] = (
        rounded_to_int8(network, size) if config.qat else nullcontext([])
    )
    with rounding as int8_layers, warnings.catch_warnings():
        # Lightning's advice on worker counts and batch sizes it cannot infer from our loader.
        warnings.filterwarnings("ignore", module="lightning")
        try:
            trainer.fit(
                module,
                loader(images, batches, config.workers),
                ckpt_path=checkpoint,
                weights_only=True,
            )
        except SystemExit:
            # Lightning turns Ctrl-C into exit(1); the command line has its own code for it.
            raise KeyboardInterrupt from None
    training = (
        record.summary()
        | prepared
        | ({"int8_layers": len(int8_layers)} if config.qat else {})
        | {
            "parameters_m": round(parameters_m(network), 4),
            "precision": str(trainer.precision),
            "device": str(module.device),
            "torch": str(torch.__version__),
        }
    )
    save_model(
        out,
        network,
        role=config.role,
        preprocess=preprocess,
        training=training,
        config=config.to_dict() | {"edgevpr": __version__},
        space=space,
        metrics_csv=record.to_csv(),
    )
    shutil.rmtree(checkpoints, ignore_errors=True)
    out.with_name(f".{out.name}.neighbours.npy").unlink(missing_ok=True)
    return training


def _placed(table: ImageTable, config: TrainConfig) -> ImageTable:
    """The table with the places that are asked for; images that are left out have place -1.

    Raises:
        DataError: a city that is not there, or no image with a position.
    """
    place = table.place
    if config.places_from == "gps":
        place = places_from_positions(table, cell_m=config.cell_m, heading_deg=config.heading_deg)
        if (place < 0).all():
            raise DataError(
                f"found no image with a position in {config.images}, expected some for "
                "`places_from` gps: pass `places_from` ids"
            )
    if config.cities:
        cities = [path.split("/")[1] if path.startswith("Images/") else "" for path in table.paths]
        missing = sorted(set(config.cities) - set(cities))
        if missing:
            there = ", ".join(sorted(set(cities) - {""})) or "none: it is not GSV-Cities"
            raise DataError(
                f"found no city {missing[0]} in {config.images}, expected one of {there}: change "
                "`cities`"
            )
        place = np.where(np.isin(cities, config.cities), place, -1)
    return replace(table, place=place)


def _tensorboard(folder: Path | None) -> Any:
    if folder is None:
        return False
    require("tensorboard", extra="logs")
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(str(folder.parent), name=folder.name, version="")


def _objective(
    config: TrainConfig, features: Features, bank: Bank, out: Path, track: Track
) -> nn.Module:
    """The loss of a query network, with what it has to compute before training."""
    if config.loss_name in BANK_LOSSES:
        return BankObjective(config.loss_name, config.loss_args, bank, config.tau, config.gamma)
    if config.loss_name == "queue":
        return QueueObjective(config.loss_args, features.record.dim, config.tau)
    neighbours = None
    if config.loss_name in NEIGHBOUR_LOSSES:
        top_k = int(loss_arguments(config.loss_name, config.loss_args)["top_k"])
        stored = out.with_name(f".{out.name}.neighbours.npy")
        if rank_zero_only.rank == 0:
            stored.unlink(missing_ok=True)
            neighbours = precompute_neighbours(features.descriptors, top_k, stored, track=track)
        else:
            neighbours = stored_neighbours(stored, features.descriptors)
    return BaselineObjective(config.loss_name, config.loss_args, neighbours)


def _check_same_images(table: ImageTable, features: Features, config: TrainConfig) -> None:
    if table.paths != features.table.paths:
        raise DataError(
            f"found features of {len(features.table)} images at {config.features}, expected those "
            f"of the {len(table)} images in {config.images}: run edgevpr embed GALLERY_MODEL "
            f"{config.images} -o {config.features}"
        )


def _check_dim(network: Network, features: Features) -> None:
    if network.dim != features.record.dim:
        raise UsageError(
            f"found {network.dim}-d descriptors of the query network, expected "
            f"{features.record.dim}-d as the features: pass the gallery network's own "
            "`aggregator` and `aggregator_args`"
        )


def _prepare_checkpoints(folder: Path, config: TrainConfig, resume: bool) -> str | None:
    """The checkpoint to go on from, if any; a folder with this run's settings otherwise."""
    digest = hashlib.sha256(msgspec.json.encode(config.to_dict(), order="sorted")).hexdigest()
    stamp, last = folder / "config.sha256", folder / "last.ckpt"
    if resume and last.is_file():
        if stamp.read_text() != digest:
            raise UsageError(
                f"found a checkpoint of other settings in {folder}, expected this run's: pass the "
                "same options to go on, or leave out `resume` to start again"
            )
        return str(last)
    if rank_zero_only.rank != 0:  # the first process has prepared it, or is about to
        return None
    shutil.rmtree(folder, ignore_errors=True)
    write_atomic(stamp, digest.encode())
    return None


def _precision(name: str) -> str:
    """Lightning's name; "auto" takes bfloat16 where the hardware multiplies in it."""
    if name == "auto":
        if torch.cuda.is_available():
            name = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        else:
            name = "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"
    return {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[name]
