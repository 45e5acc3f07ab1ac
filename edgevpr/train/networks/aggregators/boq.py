"""BoQ: a bag of learnable queries that probe local features.

"BoQ: A Place is Worth a Bag of Learnable Queries", Ali-bey, Chaib-draa and Giguere, CVPR 2024,
https://arxiv.org/abs/2405.07364. Parameter names are those of the published weights.
"""

import torch
from torch import Tensor, nn

from edgevpr.errors import UsageError


class BoQBlock(nn.Module):
    """One transformer encoder layer and the bag of queries that reads its output."""

    def __init__(self, in_dim: int, num_queries: int, nheads: int) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(
            d_model=in_dim, nhead=nheads, dim_feedforward=4 * in_dim, batch_first=True, dropout=0.0
        )
        self.queries = nn.Parameter(torch.randn(1, num_queries, in_dim))
        self.self_attn = nn.MultiheadAttention(in_dim, num_heads=nheads, batch_first=True)
        self.norm_q = nn.LayerNorm(in_dim)
        self.cross_attn = nn.MultiheadAttention(in_dim, num_heads=nheads, batch_first=True)
        self.norm_out = nn.LayerNorm(in_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, C) tokens -> (B, N, C) encoded tokens, (B, num_queries, C) answers."""
        x = self.encoder(x)
        # The queries attend to each other before they see an image: the same for all of a batch.
        q = self.queries + self.self_attn(self.queries, self.queries, self.queries)[0]
        q = self.norm_q(q).expand(x.shape[0], -1, -1)
        out, _ = self.cross_attn(q, x, x, need_weights=False)
        return x, self.norm_out(out)


class BoQ(nn.Module):
    """(B, in_channels, H, W) features -> (B, proj_channels * row_dim) L2-normalized descriptors.

    Args:
        in_channels: channels of the backbone's feature map.
        proj_channels: width of the tokens; a multiple of 64 (one attention head per 64).
        num_queries: learnable queries in each block.
        num_layers: blocks.
        row_dim: rows kept of the (queries x channels) output.

    Raises:
        UsageError: ``proj_channels`` is not a positive multiple of 64.
    """

    def __init__(
        self,
        in_channels: int = 1024,
        proj_channels: int = 512,
        num_queries: int = 32,
        num_layers: int = 2,
        row_dim: int = 32,
    ) -> None:
        super().__init__()
        if proj_channels < 64 or proj_channels % 64:
            raise UsageError(
                f"found proj_channels {proj_channels}, expected a multiple of 64 for BoQ (one "
                "attention head per 64 channels): pass proj_channels "
                f"{max(64, round(proj_channels / 64) * 64)}"
            )
        self.proj_c = nn.Conv2d(in_channels, proj_channels, kernel_size=3, padding=1)
        self.norm_input = nn.LayerNorm(proj_channels)
        self.boqs = nn.ModuleList(
            BoQBlock(proj_channels, num_queries, nheads=proj_channels // 64)
            for _ in range(num_layers)
        )
        self.fc = nn.Linear(num_layers * num_queries, row_dim)
        self.dim = proj_channels * row_dim

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj_c(x).flatten(2).permute(0, 2, 1)
        x = self.norm_input(x)
        answers = []
        for block in self.boqs:
            x, out = block(x)
            answers.append(out)
        rows: Tensor = self.fc(torch.cat(answers, dim=1).permute(0, 2, 1))
        return nn.functional.normalize(rows.flatten(1), dim=-1)
