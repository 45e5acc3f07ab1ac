"""SALAD: local features assigned to clusters by optimal transport, with a dustbin.

"Optimal Transport Aggregation for Visual Place Recognition", Izquierdo and Civera, CVPR 2024,
https://arxiv.org/abs/2311.15937. Parameter names are those of the published weights.
"""

import math

import torch
from torch import Tensor, nn

from edgevpr.errors import UsageError


def sinkhorn(scores: Tensor, dust_bin: Tensor, iterations: int = 3) -> Tensor:
    """(B, m, n) scores of n patches for m clusters -> (B, m, n) log assignment.

    Log-domain Sinkhorn over the scores and one more row, the dustbin, which may take the n - m
    patches that no cluster asks for; in float32 at least, under autocast too.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    batch, m, n = scores.shape
    costs = torch.cat([scores, dust_bin.to(scores.dtype).expand(batch, 1, n)], 1)
    norm = -math.log(n + m)
    # The mass of each cluster, and last that of the dustbin.
    log_a = torch.tensor([norm] * m + [norm + math.log(n - m)], dtype=scores.dtype)
    log_a = log_a.to(scores.device)
    v = torch.zeros(batch, n, dtype=scores.dtype, device=scores.device)
    for _ in range(iterations):
        # Sums and logsumexp stay in float32 under autocast.
        u = log_a - torch.logsumexp(costs + v[:, None, :], 2)
        v = norm - torch.logsumexp(costs + u[:, :, None], 1)
    return (costs + u[:, :, None] + v[:, None, :])[:, :m] - norm


class SALAD(nn.Module):
    """(B, num_channels, H, W) features -> (B, num_clusters * cluster_dim + token_dim) descriptors.

    Args:
        num_channels: channels of the backbone's feature map.
        num_clusters: clusters; an image must have more patches than that.
        cluster_dim: width of what each cluster keeps.
        token_dim: width of the global part.
        dropout: of the cluster and score branches, in training.
    """

    def __init__(
        self,
        num_channels: int = 1536,
        num_clusters: int = 64,
        cluster_dim: int = 128,
        token_dim: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.num_clusters = num_clusters
        drop: nn.Module = nn.Dropout(dropout) if dropout > 0 else nn.Identity()
        self.token_features = nn.Sequential(
            nn.Linear(num_channels, 512), nn.ReLU(), nn.Linear(512, token_dim)
        )
        self.cluster_features = nn.Sequential(
            nn.Conv2d(num_channels, 512, 1), drop, nn.ReLU(), nn.Conv2d(512, cluster_dim, 1)
        )
        self.score = nn.Sequential(
            nn.Conv2d(num_channels, 512, 1), drop, nn.ReLU(), nn.Conv2d(512, num_clusters, 1)
        )
        self.dust_bin = nn.Parameter(torch.tensor(1.0))
        self.dim = num_clusters * cluster_dim + token_dim

    def forward(self, x: Tensor | tuple[Tensor, Tensor], token: Tensor | None = None) -> Tensor:
        """``x`` (B, C, H, W), or the pair (x, token) as the published code passes it.

        ``token`` (B, C) is the backbone's global token; without one, the mean over the patches.

        Raises:
            UsageError: no more patches than clusters.
        """
        if isinstance(x, tuple):
            x, token = x
        check_patches(x.shape[2] * x.shape[3], self.num_clusters)
        if token is None:
            token = x.mean((2, 3))
        features = self.cluster_features(x).flatten(2)
        assignment = sinkhorn(self.score(x).flatten(2), self.dust_bin).exp()
        # (B, m, n) x (B, n, l) -> (B, l, m): each cluster's weighted sum of local features.
        clusters = torch.einsum("bln,bmn->blm", features.to(assignment.dtype), assignment)
        parts = [
            nn.functional.normalize(self.token_features(token).to(clusters.dtype), dim=-1),
            nn.functional.normalize(clusters, dim=1).flatten(1),
        ]
        return nn.functional.normalize(torch.cat(parts, 1), dim=-1)


def check_patches(patches: int, clusters: int) -> None:
    """Refuse an image with too few patches for optimal transport with a dustbin."""
    if patches <= clusters:
        raise UsageError(
            f"found {patches} patches for {clusters} clusters of SALAD, expected more patches than "
            "clusters: take larger images, a smaller `out_index` or fewer num_clusters"
        )
