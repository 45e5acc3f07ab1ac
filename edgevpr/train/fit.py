"""Training run, from images (and gallery features) to a model artifact (``edgevpr train``)."""

import hashlib
import logging
import shutil
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import cv2
import lightning
import msgspec
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from torch.utils.data import DataLoader

from edgevpr import __version__
from edgevpr.data import read_images
from edgevpr.data.image_files import why_unreadable
from edgevpr.data.left_out import LeftOut
from edgevpr.errors import UsageError
from edgevpr.files import write_atomic
from edgevpr.guard import keeps_inputs
from edgevpr.optional import require
from edgevpr.preprocess import Preprocess
from edgevpr.progress import Track, silent
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

LAST = "last.ckpt"


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
    _quiet_and_seeded(config.seed)
    size = (config.image_size, config.image_size)
    preprocess = Preprocess(*size, mean=config.mean, std=config.std)
    table = with_places(read_images(config.images, left_out), config)
    if config.features is not None and left_out is not None:
        whole = table.paths
        table = embedded_images(table, config.features, config.images)
        left_out += _unread(config.images, sorted({*whole} - {*table.paths}))
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
    checkpoints = checkpoint_folder(out)
    checkpoint = _prepare_checkpoints(checkpoints, config, resume)
    trainer = _trainer(config, recorder, checkpoints, tensorboard)
    augment = Augment(config.crop, config.light) if config.crop < 1 or config.light > 0 else None
    images = Images(
        config.images, table.paths, preprocess, augment, config.seed, unreadable=unreadable
    )
    batches = loader(images, problem.batches, config.workers)
    rounding: AbstractContextManager[list[str]] = (
        rounded_to_int8(network, size) if config.qat else nullcontext([])
    )
    with rounding as int8_layers:
        _run(trainer, problem.module, batches, checkpoint)
    if left_out is not None:
        left_out += _unread(config.images, [table.paths[row] for row in _of_all(batches.unread)])
    if left_out:
        prepared["left_out"] = [str(item) for item in left_out]

    training = (
        recorder.summary()
        | prepared
        | ({"int8_layers": len(int8_layers)} if config.qat else {})
        | {
            "parameters_m": round(parameters_m(network), 4),
            "precision": str(trainer.precision),
            "device": str(problem.module.device),
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
        space=problem.space,
        metrics_csv=recorder.to_csv(),
    )
    shutil.rmtree(checkpoints, ignore_errors=True)
    neighbours_file(out).unlink(missing_ok=True)
    return training


def _unread(images: Path, paths: list[str]) -> list[LeftOut]:
    return [LeftOut(path, why_unreadable(images / path)) for path in paths]


def _of_all(rows: set[int]) -> list[int]:
    """The rows that any of the processes of a run names, sorted."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return sorted(rows)
    each: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(each, rows)
    return sorted(set().union(*each))


def checkpoint_folder(out: Path) -> Path:
    """Where a run that writes ``out`` keeps its checkpoint."""
    return out.with_name(f".{out.name}.checkpoint")


def has_checkpoint(out: Path) -> bool:
    """Whether a run that was to write ``out`` has left a finished epoch to go on from."""
    return (checkpoint_folder(out) / LAST).is_file()


def _quiet_and_seeded(seed: int) -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Workers read the images; OpenCV's own threads would take the network's cores.
    cv2.setNumThreads(0)
    lightning.seed_everything(seed, verbose=False)


def _trainer(
    config: TrainConfig, recorder: Recorder, checkpoints: Path, tensorboard: Path | None
) -> Any:
    several = config.devices * config.nodes > 1
    return lightning.Trainer(
        accelerator="auto",
        devices=config.devices,
        num_nodes=config.nodes,
        strategy="ddp" if several else "auto",
        sync_batchnorm=torch.cuda.is_available() and several,
        max_epochs=config.epochs,
        precision=_precision(config.precision),
        callbacks=[
            recorder,
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


def _run(trainer: Any, module: Any, batches: DataLoader[Any], checkpoint: str | None) -> None:
    with warnings.catch_warnings():
        # Lightning's advice on worker counts and batch sizes it cannot infer from our loader.
        warnings.filterwarnings("ignore", module="lightning")
        try:
            trainer.fit(module, batches, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:
            # Lightning turns Ctrl-C into exit(1); the command line has its own code for it.
            raise KeyboardInterrupt from None


def _tensorboard(folder: Path | None) -> Any:
    if folder is None:
        return False
    require("tensorboard", extra="logs")
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(str(folder.parent), name=folder.name, version="")


def _prepare_checkpoints(folder: Path, config: TrainConfig, resume: bool) -> str | None:
    """The checkpoint to go on from, if any; a folder with this run's settings otherwise."""
    digest = hashlib.sha256(msgspec.json.encode(config.to_dict(), order="sorted")).hexdigest()
    stamp, last = folder / "config.sha256", folder / LAST
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
