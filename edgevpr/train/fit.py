"""Training run, from images (and gallery features) to a model artifact (``edgevpr train``)."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch

from edgevpr import __version__
from edgevpr.data import read_images
from edgevpr.data.image_files import unread
from edgevpr.data.left_out import LeftOut
from edgevpr.guard import keeps_inputs
from edgevpr.preprocess import Preprocess
from edgevpr.progress import Track, silent
from edgevpr.train.anytime.fit_exits import fit_exits
from edgevpr.train.config import TrainConfig
from edgevpr.train.images import Augment, Images, loader, spread_out
from edgevpr.train.networks.batch_norm import unfold_batch_norm
from edgevpr.train.networks.model import save_model
from edgevpr.train.networks.network import parameters_m
from edgevpr.train.place_ids import with_places
from edgevpr.train.prepare import (
    embedded_images,
    gallery_problem,
    neighbours_file,
    query_problem,
    starting_network,
)
from edgevpr.train.qat import rounded_to_int8
from edgevpr.train.record import Recorder, TrainingStep
from edgevpr.train.trainer import Trainer, quiet_and_seeded


@keeps_inputs("out", "tensorboard", filled=("tensorboard",))
def fit(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    tensorboard: Path | None = None,
    left_out: list[LeftOut] | None = None,
    on_step: Callable[[TrainingStep], None] | None = None,
    track: Track = silent,
) -> dict[str, Any]:
    """Train and write the model artifact; returns its training record.

    A checkpoint is kept beside ``out`` after every epoch and removed at the end; with ``resume``
    the run goes on from it and ends with the same weights, to the bit, as one never interrupted.
    Of several processes, the first one writes; the others return their part of the record.

    Args:
        tensorboard: folder for TensorBoard's event files; losses, learning rate and validation
            recall also end up in the artifact's ``metrics.csv`` and ``model.json``.
        left_out: gets the images without a place or that cannot be read, which the record names,
            too; another of its batch takes the turn of one that turns out so. None: they are
            errors. Validation images have to be whole.

    Raises:
        DataError: an image cannot be read, or all of a batch; names it.
        UsageError: ``resume`` with other settings than the checkpoint's.
        SpaceMismatchError: validation features of another gallery network.
        NumericsError: the loss became NaN or infinite.
    """
    if config.for_exits:
        return fit_exits(
            config, out, resume=resume, tensorboard=tensorboard, left_out=left_out,
            on_step=on_step, track=track,
        )  # fmt: skip
    quiet_and_seeded(config.seed)
    size = (config.image_size, config.image_size)
    preprocess = Preprocess(*size, mean=config.mean, std=config.std)
    table = with_places(read_images(config.images, left_out), config)
    if config.features is not None and left_out is not None:
        whole = table.paths
        table = embedded_images(table, config.features, config.images)
        left_out += unread(config.images, sorted({*whole} - {*table.paths}))
    network = starting_network(config)
    if config.features is None:
        problem = gallery_problem(network, table, config)
    else:
        problem = query_problem(network, table, config, out, track)
    prepared = dict(problem.prepared)
    unreadable: Literal["raise", "replace"] = "raise" if left_out is None else "replace"
    if config.backbone_weights is not None:
        shown = Images(config.images, table.paths, preprocess, unreadable=unreadable)
        unfolded = unfold_batch_norm(network, spread_out(shown))
        prepared |= {"batch_norm_unfolded": unfolded} if unfolded else {}

    recorder = Recorder(config, preprocess, problem.space, on_step)
    trainer = Trainer(config, recorder, out, resume=resume, tensorboard=tensorboard)
    augment = Augment(config.crop, config.light) if config.crop < 1 or config.light > 0 else None
    images = Images(
        config.images, table.paths, preprocess, augment, config.seed, unreadable=unreadable
    )
    batches = loader(images, problem.batches, config.workers)
    rounding: AbstractContextManager[list[str]] = (
        rounded_to_int8(network, size) if config.qat else nullcontext([])
    )
    with rounding as int8_layers:
        trainer.run(problem.module, batches)
    if left_out is not None:
        left_out += unread(config.images, [table.paths[row] for row in _of_all(batches.unread)])
    if left_out:
        prepared["left_out"] = [str(item) for item in left_out]

    training = (
        recorder.summary()
        | prepared
        | ({"int8_layers": len(int8_layers)} if config.qat else {})
        | {"parameters_m": round(parameters_m(network), 4)}
        | trainer.facts(problem.module)
    )
    save_model(
        out,
        network,
        role=config.role,
        preprocess=preprocess,
        training=training,
        config=config.to_dict() | {"edgevpr": __version__},
        space=problem.space,
        metrics_csv=recorder.to_csv(),
    )
    trainer.forget_checkpoints()
    neighbours_file(out).unlink(missing_ok=True)
    return training


def _of_all(rows: set[int]) -> list[int]:
    """The rows that any of the processes of a run names, sorted."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return sorted(rows)
    each: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(each, rows)
    return sorted(set().union(*each))
