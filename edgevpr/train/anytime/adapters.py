"""Adapters of early exits: an exit's state becomes tokens of the aggregator's width and grid.

``Regrid`` brings the state of a shallow layer onto the grid of the deepest one, and an adapter
regresses tokens from it. Both regressors of "Towards Anytime Visual Place Recognition via
Manifold-aware Codebook Composition" (Kim, Cho and Yoon) are here; the codebook composes on top of
either.
"""

from collections.abc import Callable

from torch import Tensor, nn

from edgevpr.errors import UsageError


class MLPAdapter(nn.Sequential):
    """(B, T, D) -> (B, T, D): Linear, GELU, Linear, each D wide."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))


class AttentionAdapter(nn.Sequential):
    """(B, T, D) -> (B, T, D): one pre-norm transformer block, then the ``MLPAdapter``.

    At a ViT's width the block costs as much as one of the backbone's: a baseline.
    """

    def __init__(self, dim: int) -> None:
        block = nn.TransformerEncoderLayer(
            dim, _attention_heads(dim), 4 * dim, 0.0, "gelu", batch_first=True, norm_first=True
        )
        super().__init__(block, MLPAdapter(dim))


#: Adapters by the name that ``ExitRecord.adapter`` keeps.
ADAPTERS: dict[str, Callable[[int], nn.Module]] = {"mlp": MLPAdapter, "attention": AttentionAdapter}


def _attention_heads(dim: int) -> int:
    """About one head per 64 channels, and a divisor of them."""
    return max(h for h in range(1, max(1, dim // 64) + 1) if dim % h == 0)


class Regrid(nn.Module):
    """A state -> (B, T, D) tokens on the grid that the aggregator reads.

    A map (B, C, h, w) is padded to a multiple of the grid by its last row and column (strided
    convolutions round up: 21 rows become 11), average-pooled to twice the grid, and brought to the
    grid by a convolution of 2 x 2 pixels with stride 2: space to depth and a linear layer to D in
    one. On the same grid, the convolution is 1 x 1; none is needed where C is D, too, as the
    adapter begins with a linear layer.

    The tokens of a transformer (B, 1 + N, C) are on its one grid already.

    Args:
        channels: C of the state.
        dim: D of the aggregator's tokens.
        from_grid: (rows, columns) of the state.
        to_grid: (rows, columns) that the aggregator reads.
        class_token: the tokens begin with a class token (a transformer's state has one).

    Raises:
        UsageError: the state's grid is no multiple of the aggregator's.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        from_grid: tuple[int, int],
        to_grid: tuple[int, int],
        *,
        class_token: bool = False,
    ) -> None:
        super().__init__()
        self.class_token = class_token
        steps = [_step(a, b) for a, b in zip(from_grid, to_grid, strict=True)]
        if 0 in steps:
            raise UsageError(
                f"found an exit with a map of {from_grid[0]} x {from_grid[1]}, expected a multiple "
                f"of the {to_grid[0]} x {to_grid[1]} that the aggregator reads: choose other "
                "`exits`, or another `image_size`"
            )
        # Bottom and right; (0, 0) in most sizes.
        self.padding = tuple(s * b - a for s, a, b in zip(steps, from_grid, to_grid, strict=True))
        kernel = [2 if s % 2 == 0 else 1 for s in steps]
        self.window = tuple(s // k for s, k in zip(steps, kernel, strict=True))
        self.from_grid = tuple(from_grid)
        self.patches = to_grid[0] * to_grid[1]
        self.project: nn.Module = (
            nn.Identity()
            if channels == dim and kernel == [1, 1]
            else nn.Conv2d(channels, dim, (kernel[0], kernel[1]), stride=(kernel[0], kernel[1]))
        )

    def forward(self, state: Tensor) -> Tensor:
        state = self.pool(state)
        if state.ndim == 3:
            return state
        tokens: Tensor = self.project(state).flatten(2).transpose(1, 2)
        return tokens

    def pool(self, state: Tensor) -> Tensor:
        """What of a state is read, without anything learned; it is read again as the same.

        A map of 40 x 40 for a grid of 5 x 5 becomes 10 x 10: training keeps that of every image.
        """
        if state.ndim == 3:
            return state if self.class_token or state.shape[1] == self.patches else state[:, 1:]
        if tuple(state.shape[2:]) != self.from_grid:  # pooled before
            return state
        down, right = self.padding
        if down or right:
            state = nn.functional.pad(state, (0, right, 0, down), mode="replicate")
        return nn.functional.avg_pool2d(state, self.window) if max(self.window) > 1 else state


def _step(fine: int, coarse: int) -> int:
    """Rows of the fine grid that a row of the coarse one covers, rounded up; 0: it is no multiple.

    Powers of two come first: 161 rows are 11 by steps of 16, as by four halvings.
    """
    halvings = [2**k for k in range(fine.bit_length() + 1)]
    return next((s for s in (*halvings, *range(1, fine + 1)) if -(-fine // s) == coarse), 0)
