"""Class-relational label smoothing: training a gallery network to classify places.

Research 1 of Kim's thesis talk, "Resource-aware and Robust Visual Place Recognition": a small share
of the label goes to the places most similar to the true one by the classifier's own weights.
"""

import torch
from torch import Tensor, nn

from edgevpr.errors import UsageError
from edgevpr.printable import counted


def relations(weight: Tensor, labels: Tensor, tau: float) -> Tensor:
    """(K, D) class weights, (B,) labels -> (B, K) relation distribution, zero at the label.

    Softmax over the other classes of the cosine between class weights, over ``tau``.
    """
    unit = nn.functional.normalize(weight, dim=1)
    cosine = unit[labels] @ unit.T
    return (cosine / tau).scatter(1, labels[:, None], float("-inf")).softmax(1)


def smoothed_labels(weight: Tensor, labels: Tensor, alpha: float, tau: float) -> Tensor:
    """(B, K) target distribution: ``1 - alpha`` on the label, ``alpha`` over its relations."""
    targets = alpha * relations(weight, labels, tau)
    return targets.scatter(1, labels[:, None], 1 - alpha)


class ClassRelational(nn.Module):
    """Cross entropy of a cosine classifier against class-relational soft labels.

    Args:
        classes: places.
        dim: of the descriptors.
        alpha: share of the label's mass that goes to related classes; 0 is hard labels.
        relation_tau: temperature of the relation softmax.
        temperature: of the cosine logits.

    Raises:
        UsageError: a value out of its range.
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        alpha: float = 0.1,
        relation_tau: float = 0.1,
        temperature: float = 0.05,
    ) -> None:
        super().__init__()
        if not 0 <= alpha < 1:
            raise UsageError(f"found alpha {alpha}, expected a share in [0, 1): pass alpha 0.1")
        if relation_tau <= 0 or temperature <= 0:
            raise UsageError(
                f"found relation_tau {relation_tau} and temperature {temperature}, expected above "
                "0: pass relation_tau 0.1 and temperature 0.05"
            )
        if classes < 2:
            raise UsageError(
                f"found {counted(classes, 'place')}, expected 2 or more classes: pass images of "
                "more places"
            )
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(classes, dim), std=0.01))
        self.alpha, self.relation_tau, self.temperature = alpha, relation_tau, temperature

    def forward(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        """(B, D) descriptors and (B,) class numbers -> mean loss."""
        with torch.no_grad():
            targets = smoothed_labels(self.weight, labels, self.alpha, self.relation_tau)
        cosine = (
            nn.functional.normalize(descriptors, dim=1)
            @ nn.functional.normalize(self.weight, dim=1).T
        )
        return nn.functional.cross_entropy(cosine / self.temperature, targets)
