"""Training record: loss of every step and validation recall of every epoch."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.space import check_same_space
from edgevpr.data import read_split
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.train.config import TrainConfig
from edgevpr.train.embed.embed import describe_images
from edgevpr.train.evaluate.evaluate import recall_of


@dataclass(frozen=True)
class TrainingStep:
    """Report of one training step."""

    step: int
    steps: int
    epoch: int
    images: int
    loss: float
    #: validation R@1 in percent, of the last epoch that was scored.
    r1: float | None


class StepRecorder(Callback):  # type: ignore[misc]  # lightning is skipped: minutes of mypy
    """Keeps the loss of every step; those that score epochs put R@1 into ``scores``."""

    def __init__(
        self, seed: int, epochs: int, on_step: Callable[[TrainingStep], None] | None
    ) -> None:
        self.seed, self.epochs, self.on_step = seed, epochs, on_step
        self.losses: list[float] = []
        self.scores: dict[int, float] = {}

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        # Dropout and drop-path draw from the global generator: tie it to the epoch, so that a
        # resumed run draws what an uninterrupted one would.
        torch.manual_seed(self.seed * 1_000_003 + trainer.current_epoch)

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(outputs["loss"]))
        if self.on_step is not None and trainer.is_global_zero:
            self.on_step(
                TrainingStep(
                    step=trainer.global_step,
                    steps=int(trainer.estimated_stepping_batches),
                    epoch=trainer.current_epoch,
                    images=len(batch[1]),
                    loss=self.losses[-1],
                    r1=self.scores[max(self.scores)] if self.scores else None,
                )
            )

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "scores": self.scores}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses, self.scores = list(state["losses"]), dict(state["scores"])

    def summary(self) -> dict[str, Any]:
        last = self.losses[-20:]
        return {
            "steps": len(self.losses),
            "final_loss": sum(last) / len(last) if last else None,
            "validation_r1": {str(epoch + 1): score for epoch, score in self.scores.items()},
        }

    def to_csv(self) -> str:
        """step, epoch, loss, validation R@1 (on the last step of a scored epoch)."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["step", "epoch", "loss", "validation_r1"])
        per_epoch = max(1, len(self.losses) // self.epochs)
        for i, loss in enumerate(self.losses):
            epoch, last = i // per_epoch, (i + 1) % per_epoch == 0
            score = self.scores.get(epoch, "") if last else ""
            writer.writerow([i + 1, epoch + 1, f"{loss:.6f}", score])
        return text.getvalue()


class Recorder(StepRecorder):
    """Keeps the loss of every step and the validation recall of every epoch."""

    def __init__(
        self,
        config: TrainConfig,
        preprocess: Preprocess,
        space: str | None,
        on_step: Callable[[TrainingStep], None] | None,
    ) -> None:
        super().__init__(config.seed, config.epochs, on_step)
        self.config, self.preprocess = config, preprocess
        self.validation: tuple[ImageTable, ImageTable] | None = None
        self.stored: Features | None = None
        if config.validation is not None:
            self.validation = read_split(config.validation)
        if config.validation_features is not None:
            self.stored = Features(config.validation_features)
            check_same_space(
                self.stored.space,
                str(config.validation_features),
                space or "",
                str(config.features),
            )

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        if self.validation is None or not trainer.is_global_zero:
            return
        if self.config.role == "query" and self.stored is None:
            return
        database, queries = self.validation
        root = self.config.validation
        assert root is not None
        q = describe_images(module.network, self.preprocess, root, queries, workers=0)
        if self.stored is not None:
            table, g = self.stored.table, self.stored.descriptors
        else:
            table = database
            g = describe_images(module.network, self.preprocess, root, database, workers=0)
        score = recall_of(queries, q, table, g).at[1]
        self.scores[trainer.current_epoch] = score
        if trainer.logger is not None:
            trainer.logger.log_metrics({"validation_r1": score}, trainer.global_step)
