"""Asymmetric contrastive losses against the geographical memory bank.

Equations of Kim, Cho and Yoon, "Towards Test-time Efficient Visual Place Recognition via
Asymmetric Query Processing". Everything is computed in float32 log-sum-exp whatever the autocast
state (``1/tau`` and ``1/tau^2`` overflow half precision), and in blocks over the bank, so that
memory is that of one (batch x block) score matrix, however many places there are. float64 stays
float64.
"""

from typing import Any

import torch
from torch import Tensor, nn

from edgevpr.errors import UsageError

#: Bank rows whose scores are held at once.
BLOCK = 2048


class _NegativeLogSumExp(torch.autograd.Function):
    """(B, D) queries -> (B,) log of the sum over the bank, without hidden places, of e^{q.c/tau}.

    The gradient, the softmax-weighted mean of the centroids over tau, is gathered in the same pass
    over the bank (running maximum, as in online softmax), so the backward pass reads nothing.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, centroids: Tensor, hidden: Tensor, tau: float, block: int
    ) -> Tensor:
        batch = len(query)
        highest = query.new_full((batch, 1), float("-inf"))
        total = query.new_zeros((batch, 1))
        weighted = torch.zeros_like(query) if query.requires_grad else None
        for start in range(0, len(centroids), block):
            rows = centroids[start : start + block].to(query.dtype)
            scores = query @ rows.T / tau
            of, which = ((hidden >= start) & (hidden < start + len(rows))).nonzero(as_tuple=True)
            scores[of, hidden[of, which] - start] = float("-inf")
            top = torch.maximum(highest, scores.amax(1, keepdim=True))
            # A block of nothing but hidden places leaves both at -inf: no weight, no NaN.
            base = torch.where(top.isinf(), torch.zeros_like(top), top)
            kept = (highest - base).exp()
            scores = scores.sub_(base).exp_()
            total = total * kept + scores.sum(1, keepdim=True)
            if weighted is not None:
                weighted = weighted.mul_(kept).addmm_(scores, rows)
            highest = top
        if weighted is not None:
            ctx.save_for_backward(weighted.div_(total * tau))
        return (highest + total.log())[:, 0]

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weighted,) = ctx.saved_tensors
        return grad[0][:, None] * weighted, None, None, None, None


def negatives(
    query: Tensor, centroids: Tensor, own: Tensor, tau: float, block: int = BLOCK
) -> Tensor:
    """(B,) log-sum-exp of ``q.c_j / tau`` over the places j other than a query's own.

    Args:
        own: (B,) bank row of each query's place; or (B, K) rows that are no negatives of it, its
            own first, filled up with -1.
    """
    hidden = own[:, None] if own.ndim == 1 else own
    result: Tensor = _NegativeLogSumExp.apply(query, centroids, hidden, tau, block)
    return result


def _lifted(*tensors: Tensor) -> list[Tensor]:
    return [t.to(torch.promote_types(t.dtype, torch.float32)) for t in tensors]


def implicit(
    query: Tensor,
    gallery: Tensor,
    centroids: Tensor,
    own: Tensor,
    variance: Tensor,
    *,
    tau: float = 0.05,
    gamma: float = 15.0,
    block: int = BLOCK,
) -> Tensor:
    """Asymmetric contrastive loss with implicit embedding augmentation, Eq. 8; mean over the batch.

    ``-log( e^{q.g/t} / (e^{q.g/t} + sum_{j != own} e^{q.c_j/t + gamma/(2 t^2) q^T S q}) )``
    with S the diagonal covariance of the image's own place. ``gamma=0`` is Eq. 3.

    Args:
        query: (B, D) query-network descriptors, L2-normalized.
        gallery: (B, D) gallery-network descriptors of the same images.
        centroids: (M, D) of the bank; half precision is lifted block by block.
        own: (B,) bank rows of the images' own places, masked from the negatives; or (B, K) with
            further places that are no negatives, see ``negatives``.
        variance: (B, D) diagonal covariance of the images' own places.
    """
    with torch.autocast(query.device.type, enabled=False):
        q, g, s = _lifted(query, gallery, variance)
        positive = (q * g).sum(1) / tau
        # The regularizer is the same for every negative: it leaves the sum as a factor.
        regularizer = gamma / (2 * tau**2) * (q.square() * s).sum(1)
        negative = negatives(q, centroids, own, tau, block) + regularizer
        # log(1 + sum e^{n - p}) = softplus(n - p)
        return nn.functional.softplus(negative - positive).mean()


def asymmetric(
    query: Tensor,
    gallery: Tensor,
    centroids: Tensor,
    own: Tensor,
    *,
    tau: float = 0.05,
    block: int = BLOCK,
) -> Tensor:
    """Asymmetric contrastive loss, Eq. 3: ``implicit`` without augmentation."""
    with torch.autocast(query.device.type, enabled=False):
        q, g = _lifted(query, gallery)
        negative = negatives(q, centroids, own, tau, block)
        return nn.functional.softplus(negative - (q * g).sum(1) / tau).mean()


def explicit(
    query: Tensor,
    gallery: Tensor,
    centroids: Tensor,
    own: Tensor,
    variance: Tensor,
    *,
    tau: float = 0.05,
    gamma: float = 15.0,
    samples: int = 10,
    noise: Tensor | None = None,
    block: int = BLOCK,
) -> Tensor:
    """Asymmetric contrastive loss with explicit augmentation, Eq. 4 and 5; mean over the batch.

    Args:
        samples: K of Eq. 5, drawn anew from N(g, gamma S) in every call; the paper takes 10.
        noise: (K, B, D) standard normal values instead of drawn ones.

    Raises:
        UsageError: fewer than one sample.
    """
    if samples < 1:
        raise UsageError(
            f"found samples {samples}, expected 1 or more of the K in Eq. 5: pass samples 10"
        )
    with torch.autocast(query.device.type, enabled=False):
        q, g, s = _lifted(query, gallery, variance)
        negative = negatives(q, centroids, own, tau, block)
        if noise is None:
            noise = torch.randn((samples, *g.shape), dtype=g.dtype, device=g.device)
        augmented = g + noise.to(g.dtype) * (gamma * s).sqrt()
        positive = torch.einsum("bd,kbd->kb", q, augmented) / tau
        return nn.functional.softplus(negative - positive).mean()


class QueueBank(nn.Module):
    """A first-in-first-out queue of past gallery embeddings as the negatives of Eq. 8.

    The alternative to the geographical memory bank in Table 4 (the dynamic dictionary of He et al.,
    "Momentum Contrast", CVPR 2020). Entries of the query's own place are masked. The paper does not
    say whether its row keeps the implicit augmentation; since it lies above the row without, it
    must: with the places' variances this is Eq. 8, with ``gamma`` 0 Eq. 3.

    Args:
        size: embeddings kept.
        dim: of an embedding.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise UsageError(f"found size {size}, expected a queue of 1 or more: pass size 4096")
        self.register_buffer("entries", torch.zeros(size, dim))
        self.register_buffer("places", torch.full((size,), -1))
        self.register_buffer("next", torch.zeros((), dtype=torch.long))

    def push(self, gallery: Tensor, places: Tensor) -> None:
        """Take in a batch of (B, D) embeddings and their (B,) place rows, oldest out."""
        entries, owners, at = (self.get_buffer(n) for n in ("entries", "places", "next"))
        size = len(entries)
        gallery, places = gallery[-size:], places[-size:]
        slots = (at + torch.arange(len(gallery), device=at.device)) % size
        entries[slots] = gallery.detach().to(entries.dtype)
        owners[slots] = places.to(owners.dtype)
        at.copy_((at + len(gallery)) % size)

    def forward(
        self,
        query: Tensor,
        gallery: Tensor,
        own: Tensor,
        variance: Tensor,
        *,
        tau: float = 0.05,
        gamma: float = 15.0,
    ) -> Tensor:
        """Eq. 8 with the queue's entries for centroids; mean over the batch.

        Args:
            query, gallery, own, variance: as ``implicit`` takes them.
        """
        with torch.autocast(query.device.type, enabled=False):
            q, g, s = _lifted(query, gallery, variance)
            owners = self.get_buffer("places")
            # A copy: the backward pass comes after the next push has written over entries.
            entries = self.get_buffer("entries").to(q.dtype, copy=True)
            regularizer = gamma / (2 * tau**2) * (q.square() * s).sum(1, keepdim=True)
            scores = q @ entries.T / tau + regularizer
            masked = own[:, None] if own.ndim == 1 else own
            hidden = (owners == masked[..., None]).any(1) | (owners < 0)[None]
            scores = scores.masked_fill(hidden, float("-inf"))
            positive = (q * g).sum(1, keepdim=True) / tau
            both = torch.cat([positive, scores], 1)
            return (torch.logsumexp(both, 1) - positive[:, 0]).mean()
