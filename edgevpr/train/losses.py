"""Asymmetric contrastive losses against the geographical memory bank.

Equations of Kim, Cho and Yoon, "Towards Test-time Efficient Visual Place Recognition via
Asymmetric Query Processing".
"""

import torch
from torch import Tensor

from edgevpr.errors import UsageError


def check_temperature(tau: float, gamma: float) -> None:
    """Refuse a temperature or an augmentation strength outside its range.

    Raises:
        UsageError: tau is not in (0, 1], or gamma is negative or not finite.
    """
    if not 0 < tau <= 1:
        raise UsageError(f"--tau {tau}: expected a temperature in (0, 1], the paper's is 0.05")
    if not 0 <= gamma < float("inf"):
        raise UsageError(
            f"--gamma {gamma}: expected a finite number >= 0 (the paper's is 15; "
            "0 is the loss without augmentation, Eq. 3)"
        )


def implicit(
    query: Tensor,
    gallery: Tensor,
    centroids: Tensor,
    own: Tensor,
    variance: Tensor,
    *,
    tau: float = 0.05,
    gamma: float = 15.0,
) -> Tensor:
    """Asymmetric contrastive loss with implicit embedding augmentation, Eq. 8; mean over the batch.

    ``-log( e^{q.g/t} / (e^{q.g/t} + sum_{j != own} e^{q.c_j/t + gamma/(2 t^2) q^T S q}) )``
    with S the diagonal covariance of the image's own place. ``gamma=0`` is Eq. 3.
    Computed in float32 whatever the autocast state: ``1/t`` and ``1/t^2`` overflow half precision.

    Args:
        query: (B, D) query-network descriptors, L2-normalized.
        gallery: (B, D) gallery-network descriptors of the same images.
        centroids: (M, D) of the bank.
        own: (B,) bank rows of the images' own places, masked from the negatives.
        variance: (B, D) diagonal covariance of the images' own places.
    """
    with torch.autocast(query.device.type, enabled=False):
        # float64 stays float64 (tests); half precisions are lifted.
        dtype = torch.promote_types(query.dtype, torch.float32)
        q, g, c, s = (t.to(dtype) for t in (query, gallery, centroids, variance))
        positive = (q * g).sum(1, keepdim=True) / tau
        regularizer = gamma / (2 * tau**2) * (q.square() * s).sum(1, keepdim=True)
        negative = q @ c.T / tau + regularizer
        negative = negative.scatter(1, own[:, None], float("-inf"))
        # log(1 + sum e^{n - p}) = logsumexp([p, n]) - p
        losses = torch.logsumexp(torch.cat([positive, negative], 1), 1) - positive[:, 0]
        return losses.mean()


def asymmetric(
    query: Tensor, gallery: Tensor, centroids: Tensor, own: Tensor, *, tau: float = 0.05
) -> Tensor:
    """Asymmetric contrastive loss, Eq. 3: ``implicit`` without augmentation."""
    return implicit(query, gallery, centroids, own, torch.zeros_like(gallery), tau=tau, gamma=0.0)
