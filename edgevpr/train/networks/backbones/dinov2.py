"""DINOv2 vision transformers, with the published parameter names.

"DINOv2: Learning Robust Visual Features without Supervision", Oquab et al., TMLR 2024. timm has
these networks too, under other names and with another resampling of the position embedding.
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from edgevpr.errors import DataError, UsageError
from edgevpr.train.networks.checkpoint import read_checkpoint

#: (embed_dim, depth, num_heads) of the published sizes, all with patches of 14 px.
SIZES = {
    "dinov2_vits14": (384, 12, 6),
    "dinov2_vitb14": (768, 12, 12),
    "dinov2_vitl14": (1024, 24, 16),
}


class _PatchEmbed(nn.Module):
    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return tokens


class _Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(b, n, c))
        return projected


class _LayerScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _MLP(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = _Attention(dim, num_heads)
        self.ls1 = _LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = _MLP(dim)
        self.ls2 = _LayerScale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class _Embedding(nn.Module):
    """Patches and their positions: what comes before the blocks."""

    patch_embed: _PatchEmbed
    cls_token: nn.Parameter
    pos_embed: nn.Parameter
    patch_size: int
    embed_dim: int
    #: patches a side that the position embedding was trained for.
    side: int
    interpolate_antialias: bool
    interpolate_offset: float

    def prepare_tokens(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + h w, C): patches embedded, with their positions.

        Raises:
            UsageError: a side that is no multiple of the patch size.
        """
        check_sides(x.shape[2], x.shape[3], self.patch_size)
        rows, columns = x.shape[2] // self.patch_size, x.shape[3] // self.patch_size
        tokens = self.patch_embed(x)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1)
        return tokens + self.positions(rows, columns).to(tokens.dtype)

    def positions(self, rows: int, columns: int) -> Tensor:
        """(1, 1 + rows columns, C) position embedding, resampled bicubically where needed."""
        if rows == columns == self.side:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].float().reshape(1, self.side, self.side, self.embed_dim)
        offset = self.interpolate_offset
        grid = nn.functional.interpolate(
            grid.permute(0, 3, 1, 2),
            scale_factor=((rows + offset) / self.side, (columns + offset) / self.side),
            mode="bicubic",
            antialias=self.interpolate_antialias,
        )
        if grid.shape[2:] != (rows, columns):
            raise RuntimeError(f"positions of {tuple(grid.shape[2:])}, not {(rows, columns)}")
        patches = grid.permute(0, 2, 3, 1).flatten(1, 2)
        return torch.cat([self.pos_embed[:, :1].float(), patches], 1)


class DINOv2(_Embedding):
    """(B, 3, H, W) normalized images -> tokens, the class token first.

    Args:
        img_size: side in pixels the position embedding was trained for.
        patch_size: side of a patch; image sides must be its multiples.
        embed_dim: width of the tokens.
        depth: blocks.
        num_heads: attention heads.
        interpolate_antialias: when the position embedding is resampled for another image size.
        interpolate_offset: added to the number of patches a side before the scale is computed, as
            the published weights were trained.
    """

    def __init__(
        self,
        img_size: int = 518,
        patch_size: int = 14,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        interpolate_antialias: bool = False,
        interpolate_offset: float = 0.1,
    ) -> None:
        super().__init__()
        self.patch_size, self.embed_dim = patch_size, embed_dim
        self.interpolate_antialias = interpolate_antialias
        self.interpolate_offset = interpolate_offset
        self.side = img_size // patch_size
        self.patch_embed = _PatchEmbed(patch_size, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.side**2 + 1, embed_dim))
        # Of masked pretraining; part of the published weights, unused here.
        self.mask_token = nn.Parameter(torch.zeros(1, embed_dim), requires_grad=False)
        self.blocks = nn.ModuleList(_Block(embed_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)

    def forward(self, x: Tensor, norm: bool = True) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + h w, C) tokens of the last block, normed or not."""
        tokens = self.prepare_tokens(x)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens) if norm else tokens

    def forward_features(self, x: Tensor) -> dict[str, Tensor]:
        """The same under the names of the published code."""
        tokens = self(x, norm=False)
        normed = self.norm(tokens)
        return {
            "x_norm_clstoken": normed[:, 0],
            "x_norm_patchtokens": normed[:, 1:],
            "x_prenorm": tokens,
        }


class DINOv2Stem(_Embedding):
    """(B, 3, H, W) normalized images -> (B, 1 + h w, C) tokens that the first block reads.

    Holds the network's own parameters of this part, and nothing else of it.
    """

    def __init__(self, network: DINOv2) -> None:
        super().__init__()
        self.patch_embed = network.patch_embed
        self.cls_token, self.pos_embed = network.cls_token, network.pos_embed
        self.patch_size, self.embed_dim = network.patch_size, network.embed_dim
        self.side = network.side
        self.interpolate_antialias = network.interpolate_antialias
        self.interpolate_offset = network.interpolate_offset

    def forward(self, x: Tensor) -> Tensor:
        return self.prepare_tokens(x)


class DINOv2Features(nn.Module):
    """(B, 3, H, W) -> (B, C, h, w) patch features, and (B, C) class token where asked.

    Args:
        name: dinov2_vits14, dinov2_vitb14 or dinov2_vitl14.
        final_norm: BoQ reads the last block without the final norm, SALAD and SuperVLAD with it.
        trained_blocks: how many of the last blocks are trained; None: all.
        attribute: what the published checkpoint calls the network inside its backbone.

    Raises:
        UsageError: no such size.
    """

    def __init__(
        self,
        name: str,
        *,
        final_norm: bool = True,
        with_token: bool = False,
        trained_blocks: int | None = None,
        attribute: Literal["dino", "model"] = "model",
    ) -> None:
        super().__init__()
        if name not in SIZES:
            raise UsageError(
                f"found `backbone` {name}, expected one of {', '.join(SIZES)}: change it"
            )
        dim, depth, heads = SIZES[name]
        network = DINOv2(embed_dim=dim, depth=depth, num_heads=heads)
        setattr(self, attribute, network)
        self.attribute, self.final_norm, self.with_token = attribute, final_norm, with_token
        self.channels, self.reduction = dim, network.patch_size
        if trained_blocks is not None:
            for parameter in network.parameters():
                parameter.requires_grad_(False)
            for block in network.blocks[depth - trained_blocks :]:
                block.requires_grad_(True)
            network.norm.requires_grad_(trained_blocks > 0)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        network: DINOv2 = getattr(self, self.attribute)
        tokens = network(x, norm=self.final_norm)
        h, w = x.shape[2] // network.patch_size, x.shape[3] // network.patch_size
        patches = tokens[:, 1:].transpose(1, 2).reshape(-1, self.channels, h, w)
        return (patches, tokens[:, 0]) if self.with_token else patches

    def load_pretrained(self, path: Path) -> int:
        """Start from the published weights of DINOv2 itself; returns how many tensors were filled.

        Raises:
            DataError: the file does not hold this size's weights.
        """
        state = read_checkpoint(path)
        network: DINOv2 = getattr(self, self.attribute)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            first = " ".join(str(error).split())[:200]
            raise DataError(
                f"found other weights in {path} ({first}), expected those of this DINOv2 without "
                "registers: pass the `backbone_weights` of this `backbone`"
            ) from error
        return len(state)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of an image.

        Raises:
            UsageError: a side that is no multiple of 14.
        """
        check_sides(height, width, self.reduction)
        return height // self.reduction, width // self.reduction


def check_sides(height: int, width: int, patch: int) -> None:
    """Refuse image sides that do not divide into patches, with those that would."""
    if height % patch or width % patch:
        near = [max(patch, round(side / patch) * patch) for side in (height, width)]
        raise UsageError(
            f"found images of {height} x {width} px, expected sides that are multiples of {patch} "
            f"for DINOv2: pass another `image_size`, for example {near[0]} x {near[1]}"
        )
