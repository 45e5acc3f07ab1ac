"""Trainer of every run: Lightning's, seeded, with one checkpoint that a run goes on from."""

import hashlib
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any, Protocol

import cv2
import lightning
import msgspec
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from torch.utils.data import DataLoader

from edgevpr.errors import UsageError
from edgevpr.files import write_atomic
from edgevpr.optional import require

_LAST = "last.ckpt"


class RunSettings(Protocol):
    """Settings that every kind of run has."""

    @property
    def epochs(self) -> int: ...
    @property
    def devices(self) -> int: ...
    @property
    def nodes(self) -> int: ...
    @property
    def precision(self) -> str: ...

    def to_dict(self) -> dict[str, Any]:
        """Plain values; a checkpoint of others is not gone on from."""


class Trainer:
    """One run from its first step, or from a checkpoint, to its last.

    A checkpoint is kept beside ``out`` after every epoch. With ``resume`` the run goes on from it,
    and ends with the same weights, to the bit, as one never interrupted.

    Raises:
        UsageError: ``resume`` with other settings than the checkpoint's.
    """

    def __init__(
        self,
        config: RunSettings,
        recorder: Callback,
        out: Path,
        *,
        resume: bool,
        tensorboard: Path | None,
    ) -> None:
        self._checkpoints = _checkpoint_folder(out)
        self._checkpoint = _prepare_checkpoints(self._checkpoints, config, resume)
        several = config.devices * config.nodes > 1
        self._trainer = lightning.Trainer(
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
                ModelCheckpoint(
                    dirpath=self._checkpoints, filename="last", enable_version_counter=False
                ),
            ],
            logger=_tensorboard(tensorboard),
            log_every_n_steps=10,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            gradient_clip_val=1.0,
        )

    @property
    def resumes(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self._checkpoint is not None

    def run(self, module: Any, batches: DataLoader[Any]) -> None:
        with warnings.catch_warnings():
            # Lightning's advice on worker counts and batch sizes it cannot infer from our loader.
            warnings.filterwarnings("ignore", module="lightning")
            try:
                self._trainer.fit(module, batches, ckpt_path=self._checkpoint, weights_only=True)
            except SystemExit:
                # Lightning turns Ctrl-C into exit(1); the command line has its own code for it.
                raise KeyboardInterrupt from None

    def facts(self, module: Any) -> dict[str, str]:
        """For the training record: number format, device, version of torch."""
        return {
            "precision": str(self._trainer.precision),
            "device": str(module.device),
            "torch": str(torch.__version__),
        }

    def forget_checkpoints(self) -> None:
        """At the end, when what was trained has been written."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)


def has_checkpoint(out: Path) -> bool:
    """Whether a run that was to write ``out`` has left a finished epoch to go on from."""
    return (_checkpoint_folder(out) / _LAST).is_file()


def _checkpoint_folder(out: Path) -> Path:
    return out.with_name(f".{out.name}.checkpoint")


def quiet_and_seeded(seed: int) -> None:
    """Silence Lightning's notes, leave the cores to the network, seed everything random."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Workers read the images; OpenCV's own threads would take the network's cores.
    cv2.setNumThreads(0)
    lightning.seed_everything(seed, verbose=False)


def _tensorboard(folder: Path | None) -> Any:
    if folder is None:
        return False
    require("tensorboard", extra="logs")
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(str(folder.parent), name=folder.name, version="")


def _prepare_checkpoints(folder: Path, config: RunSettings, resume: bool) -> str | None:
    """The checkpoint to go on from, if any; a folder with this run's settings otherwise."""
    digest = hashlib.sha256(msgspec.json.encode(config.to_dict(), order="sorted")).hexdigest()
    stamp, last = folder / "config.sha256", folder / _LAST
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
