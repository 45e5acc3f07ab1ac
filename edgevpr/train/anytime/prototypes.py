"""Prototypes that a codebook starts from: drawn tokens, k-means++ seeds, spherical k-means.

Assignment looks at directions only (a cosine), so distances between tokens are taken between their
directions: 1 - cos. Prototypes keep the length of the tokens that they are, or are the mean of,
because composition mixes them as they are.
"""

import torch
from torch import Tensor, nn

from edgevpr.errors import DataError

#: Tokens that are drawn for each prototype.
TOKENS_PER_PROTOTYPE = 32
#: Lloyd's iterations; few tokens change their centre after that.
ITERATIONS = 25


def starting_prototypes(tokens: Tensor, heads: int, size: int, init: str, seed: int) -> Tensor:
    """(n, D) tokens -> (H, M, D / H) prototypes.

    Args:
        init: "random": drawn tokens; "learned": seeds of k-means++ (Arthur and Vassilvitskii,
            2007); "kmeans": centres of spherical k-means from these seeds.

    Raises:
        DataError: fewer different tokens than prototypes.
    """
    draw = torch.Generator(tokens.device).manual_seed(seed)
    different = len(torch.unique(tokens, dim=0))
    if different < size:
        raise DataError(
            f"found {different} different tokens in the images, expected at least one for each of "
            f"the {size} prototypes: pass a smaller `size`, or more images"
        )
    parts = tokens.reshape(len(tokens), heads, -1).transpose(0, 1)  # (H, n, d)
    if init == "random":
        # Whole tokens: the heads of a prototype come from one token, as monolithic books would.
        chosen = torch.randperm(len(tokens), generator=draw)[:size]
        return parts.index_select(1, chosen)
    seeds = _plus_plus(parts, size, draw)
    return seeds if init == "learned" else _spherical_kmeans(parts, seeds)


def _plus_plus(parts: Tensor, size: int, draw: torch.Generator) -> Tensor:
    """(H, n, d) -> (H, M, d): each next one drawn by its distance from those that are there."""
    heads, count, _ = parts.shape
    directions = nn.functional.normalize(parts, dim=-1)
    every = torch.arange(heads)
    chosen = torch.randint(count, (heads,), generator=draw)
    distance = torch.full((heads, count), float("inf"))
    picked = [chosen]
    for _ in range(size - 1):
        cosine = (directions @ directions[every, chosen][:, :, None])[:, :, 0]
        distance = torch.minimum(distance, (1 - cosine).clamp_min(1e-12))
        # Among unit vectors |a - b|^2 = 2 (1 - cos): the squared distance that the method asks for.
        chosen = torch.multinomial(distance, 1, generator=draw)[:, 0]
        picked.append(chosen)
    return parts[every[:, None], torch.stack(picked, 1)]


def _spherical_kmeans(parts: Tensor, centres: Tensor) -> Tensor:
    """Lloyd's iterations with cosines; a centre that nothing is near to stays."""
    centres = centres.clone()
    for _ in range(ITERATIONS):
        directions = nn.functional.normalize(centres, dim=-1)
        nearest = (parts @ directions.transpose(1, 2)).argmax(-1)  # (H, n)
        for head, own in enumerate(nearest):
            counts = torch.bincount(own, minlength=centres.shape[1])
            sums = torch.zeros_like(centres[head]).index_add_(0, own, parts[head])
            near = counts > 0
            centres[head, near] = sums[near] / counts[near, None]
    return centres
