"""Training objectives by name: a loss with its memory bank, queue or neighbours."""

from collections.abc import Callable
from typing import Any

import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss, SupConLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor, nn

from edgevpr.train.losses import asymmetric, distillation
from edgevpr.train.losses.arguments import loss_arguments
from edgevpr.train.losses.bank import Bank
from edgevpr.train.losses.crls import ClassRelational
from edgevpr.train.losses.neighbours import Neighbours

#: Losses of other papers by name.
BASELINES: dict[str, Callable[..., Tensor]] = {
    "csd": distillation.csd,
    "rop": distillation.rop,
    "msp": distillation.msp,
    "d3still": distillation.d3still,
    "raml": distillation.raml,
    "regression": distillation.regression,
}


class GalleryObjective(nn.Module):
    """Metric learning of a gallery network: (B, D) descriptors, (B,) labels -> loss."""

    def __init__(self, name: str, arguments: dict[str, Any], classes: int, dim: int) -> None:
        super().__init__()
        a = loss_arguments(name, arguments)
        self.miner: Any = None
        self.loss: Any
        if name == "supcon":
            self.loss = SupConLoss(temperature=a["temperature"])
        elif name == "multi-similarity":
            self.loss = MultiSimilarityLoss(alpha=a["alpha"], beta=a["beta"], base=a["base"])
            self.miner = MultiSimilarityMiner(epsilon=a["epsilon"])
        else:
            self.loss = ClassRelational(classes, dim, **a)

    def forward(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(descriptors.device.type, enabled=False):
            descriptors, labels = _of_all(descriptors.float()), _of_all(labels)
            mined = () if self.miner is None else (self.miner(descriptors, labels),)
            loss: Tensor = self.loss(descriptors, labels, *mined)
            return loss


class BankObjective(nn.Module):
    """Eq. 8, 3 or 5 against a memory bank.

    Args:
        hidden: (M, K) for each place of the bank the rows that are no negatives of it, its own
            first, filled up with -1; None: its own alone.
    """

    def __init__(
        self,
        name: str,
        arguments: dict[str, Any],
        bank: Bank,
        tau: float,
        gamma: float,
        hidden: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.name, self.tau, self.gamma = name, tau, gamma
        self.register_buffer("hidden", hidden, persistent=False)
        self.arguments = loss_arguments(name, arguments)
        self.register_buffer("centroids", torch.from_numpy(bank.centroids), persistent=False)
        self.register_buffer("variances", torch.from_numpy(bank.variances), persistent=False)

    def forward(self, query: Tensor, gallery: Tensor, own: Tensor, rows: Tensor) -> Tensor:
        centroids, variances = self.get_buffer("centroids"), self.get_buffer("variances")
        masked = own if self.hidden is None else self.get_buffer("hidden")[own]
        if self.name == "asymmetric":
            return asymmetric.asymmetric(query, gallery, centroids, masked, tau=self.tau)
        loss = asymmetric.implicit if self.name == "implicit" else asymmetric.explicit
        return loss(
            query, gallery, centroids, masked, variances[own],
            tau=self.tau, gamma=self.gamma, **self.arguments,
        )  # fmt: skip


class QueueObjective(nn.Module):
    """Eq. 8 against a queue of past embeddings; every process's batch enters every queue.

    The places' variances are those of the memory bank.

    Args:
        hidden: as ``BankObjective`` takes it.
    """

    def __init__(
        self,
        arguments: dict[str, Any],
        bank: Bank,
        tau: float,
        gamma: float,
        hidden: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("hidden", hidden, persistent=False)
        size = int(loss_arguments("queue", arguments)["size"])
        self.queue = asymmetric.QueueBank(size, bank.variances.shape[1])
        self.tau, self.gamma = tau, gamma
        self.register_buffer("variances", torch.from_numpy(bank.variances), persistent=False)

    def forward(self, query: Tensor, gallery: Tensor, own: Tensor, rows: Tensor) -> Tensor:
        masked = own if self.hidden is None else self.get_buffer("hidden")[own]
        variance = self.get_buffer("variances")[own]
        loss: Tensor = self.queue(query, gallery, masked, variance, tau=self.tau, gamma=self.gamma)
        with torch.no_grad():
            self.queue.push(_of_all(gallery), _of_all(own))
        return loss


class BaselineObjective(nn.Module):
    """A loss of another paper; those that rank neighbours get them from the whole gallery."""

    def __init__(self, name: str, arguments: dict[str, Any], neighbours: Neighbours | None) -> None:
        super().__init__()
        self.loss = BASELINES[name]
        self.arguments = loss_arguments(name, arguments)
        self.neighbours = neighbours
        self.mapping = distillation.MonotoneMap() if name == "msp" else None

    def forward(self, query: Tensor, gallery: Tensor, own: Tensor, rows: Tensor) -> Tensor:
        extra: dict[str, Any] = {} if self.mapping is None else {"mapping": self.mapping}
        if self.neighbours is not None:
            near = torch.from_numpy(self.neighbours.descriptors(rows.cpu().numpy()))
            extra["neighbours"] = _of_all(near.to(query.device))
        query, gallery = _of_all(query.float()), _of_all(gallery)
        with torch.autocast(query.device.type, enabled=False):
            return self.loss(query, gallery, **self.arguments, **extra)


def _of_all(values: Tensor) -> Tensor:
    """The batches of all processes, in rank order; gradients flow back to each.

    Every process then computes the loss of the whole batch. The backward pass of the gathering
    adds up the gradients of all of them, and DDP averages them: what remains is the gradient that
    one process would have had.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(values.contiguous()))  # type: ignore[no-untyped-call]
