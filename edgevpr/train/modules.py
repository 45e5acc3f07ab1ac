"""Lightning modules: what every training has, and those of a gallery and of a query network."""

import math
from typing import Any, Protocol

import lightning
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from edgevpr.errors import NumericsError
from edgevpr.train.config import TrainConfig
from edgevpr.train.losses.objectives import GalleryObjective
from edgevpr.train.networks.network import Network


class OptimizerSettings(Protocol):
    """Settings of AdamW and its schedule."""

    @property
    def learning_rates(self) -> tuple[float, float]:
        """At the begin and at the end of the cosine schedule."""

    @property
    def warmup_steps(self) -> int: ...
    @property
    def weight_decay(self) -> float: ...


class Training(lightning.LightningModule):  # type: ignore[misc]  # lightning is skipped
    """AdamW with linear warm-up and a cosine schedule, stepped per batch."""

    def __init__(self, config: OptimizerSettings) -> None:
        super().__init__()
        self.config = config

    def configure_optimizers(self) -> Any:
        config = self.config
        high, low = config.learning_rates
        optimizer: Optimizer = AdamW(
            [p for p in self.parameters() if p.requires_grad],
            lr=high,
            weight_decay=config.weight_decay,
        )
        steps = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            if step < config.warmup_steps:
                return (step + 1) / config.warmup_steps
            done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
            last = low / high
            return last + (1 - last) * (1 + math.cos(math.pi * min(1.0, done))) / 2

        schedule = LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def report(self, loss: Tensor) -> Tensor:
        """The loss, once it is known to be finite; logged.

        Raises:
            NumericsError: it is not.
        """
        if not bool(loss.isfinite()):
            raise NumericsError(
                f"found a loss of {loss.item()} at step {self.global_step}, expected a finite one: "
                "train with a lower `lr`, more `warmup_steps` or `precision` fp32"
            )
        self.log("loss", loss.detach(), on_step=True, on_epoch=True)
        return loss


class GalleryTraining(Training):
    """Metric learning of a gallery network."""

    def __init__(self, network: Network, config: TrainConfig, places: Tensor) -> None:
        super().__init__(config)
        self.network = network
        # Labels from 0: place ids made of positions do not survive a cast to float.
        ids, labels = torch.unique(places, return_inverse=True)
        self.objective = GalleryObjective(config.loss_name, config.loss_args, len(ids), network.dim)
        self.register_buffer("places", labels, persistent=False)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, rows = batch
        return self.report(self.objective(self.network(images), self.get_buffer("places")[rows]))


class QueryTraining(Training):
    """A query network trained into the space of precomputed gallery features."""

    def __init__(
        self,
        network: Network,
        config: TrainConfig,
        features: Any,
        own: Tensor,
        objective: nn.Module,
    ) -> None:
        """``features`` (N, D) float16 rows of the training images; ``own`` (N,) bank rows."""
        super().__init__(config)
        self.network = network
        self.features, self.objective = features, objective
        self.register_buffer("own", own, persistent=False)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, rows = batch
        gallery = torch.from_numpy(self.features[rows.cpu().numpy()]).to(self.device)
        own = self.get_buffer("own")[rows]
        return self.report(self.objective(self.network(images), gallery.float(), own, rows))
