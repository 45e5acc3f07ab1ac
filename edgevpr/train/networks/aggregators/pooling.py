"""Pooling aggregators: generalized mean, and an MLP over it."""

import torch
from torch import Tensor, nn


class GeM(nn.Module):
    """(B, in_channels, H, W) features -> (B, dim) L2-normalized descriptors.

    Generalized-mean pooling (Radenovic, Tolias and Chum, TPAMI 2018), in CosPlace's arrangement:
    features L2-normalized over channels, pooled, and optionally a linear layer.

    Args:
        in_channels: channels of the backbone's feature map.
        dim: of the descriptor; None leaves out the linear layer, the descriptor is in_channels
            wide.
        p: initial exponent, learned; 1 is the mean, large values approach the maximum.
    """

    def __init__(self, in_channels: int, dim: int | None = None, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))
        self.linear: nn.Module = nn.Identity() if dim is None else nn.Linear(in_channels, dim)
        self.dim = dim or in_channels

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.normalize(x.float(), dim=1)
        pooled = x.clamp(min=1e-6).pow(self.p).mean((2, 3)).pow(1 / self.p)
        return nn.functional.normalize(self.linear(pooled), dim=-1)


class MLP(nn.Module):
    """(B, in_channels, H, W) features -> (B, dim) L2-normalized descriptors.

    Mean pooling and a two-layer perceptron straight into the gallery network's space: the
    alternative to the gallery's own kind of aggregator (Table 5 of Kim, Cho and Yoon).

    Args:
        in_channels: channels of the backbone's feature map.
        dim: of the gallery network's descriptors.
        hidden: units of the hidden layer; None takes four times in_channels.
    """

    def __init__(self, in_channels: int, dim: int = 12288, hidden: int | None = None) -> None:
        super().__init__()
        hidden = hidden or 4 * in_channels
        self.layers = nn.Sequential(
            nn.Linear(in_channels, hidden), nn.GELU(), nn.Linear(hidden, dim)
        )
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(self.layers(x.mean((2, 3))), dim=-1)
