"""Baselines: losses of other asymmetric-retrieval papers.

Each takes (B, D) query-network and gallery-network descriptors of the same images, unnormalized or
not, and the parameters of its paper. With ``neighbours`` (B, K, D), the gallery descriptors of
each image's K nearest neighbours, nearest first and the image itself included, the k-NN losses
rank those, as the papers do over the whole gallery; without, the other images of the batch.
All are computed in float32 at least.
"""

import torch
from torch import Tensor, nn

from edgevpr.errors import UsageError


def _unit(x: Tensor) -> Tensor:
    return nn.functional.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def _ranked(
    query: Tensor, gallery: Tensor, top_k: int, neighbours: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(B, K) similarities of the queries and of the gallery to the gallery's own neighbours.

    Raises:
        UsageError: fewer than two neighbours.
    """
    if top_k < 2:
        raise UsageError(f"found top_k {top_k}, expected 2 or more neighbours to rank: raise top_k")
    s, t = _unit(query), _unit(gallery)
    if neighbours is None:
        of_gallery = t @ t.T
        rows = of_gallery.argsort(1, descending=True)[:, :top_k]
        return (s @ t.T).gather(1, rows), of_gallery.gather(1, rows)
    near = _unit(neighbours[:, :top_k])
    s_q = torch.einsum("bd,bkd->bk", s, near)
    return s_q, torch.einsum("bd,bkd->bk", t, near)


def csd(
    query: Tensor,
    gallery: Tensor,
    *,
    top_k: int = 256,
    tau_query: float = 1.0,
    tau_gallery: float = 0.01,
    neighbours: Tensor | None = None,
) -> Tensor:
    """Contextual similarity distillation: KL between the softmaxed similarities to neighbours.

    Wu et al., "Contextual Similarity Distillation for Asymmetric Image Retrieval", CVPR 2022.
    """
    s_q, s_t = _ranked(query, gallery, top_k, neighbours)
    student = (s_q / tau_query).log_softmax(1)
    teacher = (s_t / tau_gallery).log_softmax(1)
    return nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def rop(
    query: Tensor,
    gallery: Tensor,
    *,
    top_k: int = 256,
    temperature: float = 0.1,
    rank_weight: float = 0.2,
    gallery_temperature: float = 1e-6,
    neighbours: Tensor | None = None,
) -> Tensor:
    """Rank order preservation: smoothed comparisons between neighbours are to agree.

    Wu et al., "A General Rank Preserving Framework for Asymmetric Image Retrieval", ICLR 2023.
    """
    s_q, s_t = _ranked(query, gallery, top_k, neighbours)
    reference = s_t[:, :, None]
    of_gallery = ((s_t[:, None] - reference) / gallery_temperature).sigmoid()
    of_query = ((s_q[:, None] - reference) / temperature).sigmoid()
    ranks = torch.arange(1, s_t.shape[1] + 1, device=s_t.device, dtype=s_t.dtype)
    weight = (rank_weight * s_t).softmax(1) * ranks
    per_image = ((of_gallery - of_query).square() * weight[:, :, None]).sum((1, 2))
    return per_image.mean() / s_t.shape[1]


class MonotoneMap(nn.Module):
    """A learned non-decreasing map of similarities, [-1, 1] -> R: piecewise linear.

    Slopes are non-negative by construction (softplus); it starts as the identity.

    Args:
        pieces: linear pieces over [-1, 1].
    """

    def __init__(self, pieces: int = 16) -> None:
        super().__init__()
        self.register_buffer("knots", torch.linspace(-1, 1, pieces + 1)[:-1])
        # softplus(0.5413) = 1
        self.slopes = nn.Parameter(torch.full((pieces,), 0.54132485))
        self.offset = nn.Parameter(torch.tensor(-1.0))

    def forward(self, similarity: Tensor) -> Tensor:
        knots = self.get_buffer("knots").to(similarity.dtype)
        width = 2 / len(knots)
        part = (similarity[..., None] - knots).clamp(0, width)
        slopes = nn.functional.softplus(self.slopes.to(similarity.dtype))
        mapped: Tensor = (part * slopes).sum(-1) + self.offset.to(similarity.dtype)
        return mapped


def msp(
    query: Tensor,
    gallery: Tensor,
    *,
    top_k: int = 256,
    mapping: MonotoneMap | None = None,
    neighbours: Tensor | None = None,
) -> Tensor:
    """Monotonic similarity preservation: the query's similarities follow a monotone map of the
    gallery's.

    Wu et al., "A General Rank Preserving Framework for Asymmetric Image Retrieval", ICLR 2023,
    from the paper's text. The mapped gallery similarities are pseudo-labels for the query network
    and the query's similarities are the targets of the map; neither moves the other's targets,
    or both would shrink to a constant.

    Args:
        mapping: trained along with the query network; None is the identity.
    """
    s_q, s_t = _ranked(query, gallery, top_k, neighbours)
    if mapping is None:
        identity: Tensor = (s_q - s_t).square().mean()
        return identity
    mapped = mapping(s_t)
    follow: Tensor = (s_q - mapped.detach()).square().mean()
    learn: Tensor = (s_q.detach() - mapped).square().mean()
    return follow + learn


def d3still(
    query: Tensor,
    gallery: Tensor,
    *,
    top_k: int = 256,
    alpha: float = 100.0,
    beta: float = 5.0,
    gamma: float = 1.0,
    neighbours: Tensor | None = None,
) -> Tensor:
    """Decoupled differential distillation of pairwise similarity differences.

    Xie et al., "D3still: Decoupled Differential Distillation for Asymmetric Image Retrieval",
    CVPR 2024. Pairs that the query network orders wrongly (``beta``) and rightly (``gamma``) are
    weighted apart; ``alpha`` weighs the similarity to the image's own gallery descriptor.
    """
    s_q, s_t = _ranked(query, gallery, top_k, neighbours)
    own = torch.linalg.vector_norm(s_t[:, 0] - s_q[:, 0]) / len(s_q)
    s, t = s_q[:, 1:], s_t[:, 1:]
    ds, dt = s[:, :, None] - s[:, None], t[:, :, None] - t[:, None]
    terms = (ds - dt) / (0.1 + dt.abs())
    sign = ds.detach() * dt

    def part(mask: Tensor) -> Tensor:
        rows = torch.where(mask, terms, torch.zeros_like(terms)).flatten(1)
        # The norm's gradient at a row of zeros is 0 / 0; such a row adds nothing.
        squares = rows.square().sum(1)
        there = squares > 0
        norms = torch.where(there, squares, torch.ones_like(squares)).sqrt() * there
        mean: Tensor = norms.mean() / s.shape[1]
        return mean

    total: Tensor = alpha * own + beta * part(sign < 0) + gamma * part(sign > 0)
    return total


def raml(
    query: Tensor,
    gallery: Tensor,
    *,
    lambda_1: float = 0.7482,
    lambda_2: float = 0.6778,
    eps: float = 1e-6,
) -> Tensor:
    """Regression and relations: both networks' similarities within the batch are to agree.

    Suma and Tolias, "Large-to-small Image Resolution Asymmetry in Deep Metric Learning",
    WACV 2023.

    Raises:
        UsageError: fewer than two images.
    """
    s, t = _unit(query), _unit(gallery)
    if len(s) < 2:
        raise UsageError(
            f"found a batch of {len(s)}, expected 2 or more images for RAML: raise `batch_size`"
        )
    regression_term = (1 - (s * t).sum(1) + eps).square().mean()
    other = ~torch.eye(len(s), dtype=torch.bool, device=s.device)

    def relation(of_query: Tensor) -> Tensor:
        return (of_query - t @ t.T + eps)[other].square().mean()

    return regression_term + lambda_1 * relation(s @ t.T) + lambda_2 * relation(s @ s.T)


def regression(query: Tensor, gallery: Tensor) -> Tensor:
    """Squared distance between the two L2-normalized descriptors, mean over the batch.

    Budnik and Avrithis, "Asymmetric Metric Learning for Knowledge Transfer", CVPR 2021.
    """
    return (_unit(query) - _unit(gallery)).square().sum(1).mean()
