"""The two training problems as Lightning modules: a gallery network and a query network."""

import math
from collections.abc import Callable
from typing import Any

import lightning
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss, SupConLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from edgevpr.errors import NumericsError
from edgevpr.train.bank import Bank
from edgevpr.train.config import TrainConfig
from edgevpr.train.losses import implicit
from edgevpr.train.network import Network

#: (loss, miner) of a gallery network. Multi-similarity as GSV-Cities and BoQ train with it (Wang et
#: al., CVPR 2019; Ali-bey et al., 2022); supervised contrastive as Khosla et al., NeurIPS 2020.
METRIC_LOSSES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "multi-similarity": lambda: (
        MultiSimilarityLoss(alpha=1.0, beta=50.0, base=0.0),
        MultiSimilarityMiner(epsilon=0.1),
    ),
    "supcon": lambda: (SupConLoss(temperature=0.07), None),
}


class _Training(lightning.LightningModule):  # type: ignore[misc]  # lightning is skipped
    """AdamW with linear warm-up and a cosine schedule down to ``min_lr``, stepped per batch."""

    def __init__(self, network: Network, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.config = network, config

    def configure_optimizers(self) -> Any:
        config = self.config
        optimizer: Optimizer = AdamW(
            self.network.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        steps = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            if step < config.warmup_steps:
                return (step + 1) / config.warmup_steps
            done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
            low = config.min_lr / config.lr
            return low + (1 - low) * (1 + math.cos(math.pi * min(1.0, done))) / 2

        schedule = LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _report(self, loss: Tensor) -> Tensor:
        if not bool(loss.isfinite()):
            raise NumericsError(
                f"the loss became {loss.item()} at step {self.global_step}; "
                "train with a lower --lr, a longer --warmup-steps or --precision 32"
            )
        self.log("loss", loss.detach(), on_step=True, on_epoch=True)
        return loss


class GalleryTraining(_Training):
    """Metric learning of a gallery network, with the losses of pytorch-metric-learning."""

    def __init__(self, network: Network, config: TrainConfig, places: Tensor) -> None:
        super().__init__(network, config)
        self.loss, self.miner = METRIC_LOSSES[config.loss]()
        # Labels from 0: place ids made of positions do not survive a cast to float.
        labels = torch.unique(places, return_inverse=True)[1]
        self.register_buffer("places", labels, persistent=False)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, rows = batch
        descriptors = self.network(images)
        labels = self.get_buffer("places")[rows]
        with torch.autocast(self.device.type, enabled=False):
            descriptors = descriptors.float()
            pairs = self.miner(descriptors, labels) if self.miner is not None else None
            loss: Tensor = self.loss(descriptors, labels, pairs)
        return self._report(loss)


class QueryTraining(_Training):
    """Eq. 8: a query network trained into the space of precomputed gallery features."""

    def __init__(
        self, network: Network, config: TrainConfig, features: Any, own: Tensor, bank: Bank
    ) -> None:
        """``features`` (N, D) float16 rows of the training images; ``own`` (N,) bank rows."""
        super().__init__(network, config)
        self.features = features
        for name, value in {
            "own": own,
            "centroids": torch.from_numpy(bank.centroids),
            "variances": torch.from_numpy(bank.variances),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, rows = batch
        gallery = torch.from_numpy(self.features[rows.cpu().numpy()]).to(self.device)
        own = self.get_buffer("own")[rows]
        loss = implicit(
            self.network(images),
            gallery.float(),
            self.get_buffer("centroids"),
            own,
            self.get_buffer("variances")[own],
            tau=self.config.tau,
            gamma=self.config.gamma,
        )
        return self._report(loss)
