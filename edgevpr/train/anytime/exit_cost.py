"""Multiply-adds from an image to its descriptor, through each exit.

Counted as ``edgevpr.train.networks.cost`` counts: matrix products, convolutions and attention,
with adapter, composition from the codebook and aggregator included.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.train.anytime.anytime_network import (
    AnytimeNetwork,
    ExitSpec,
    on_meta,
    token_shape,
)
from edgevpr.train.anytime.codebook import Codebook, default_shape
from edgevpr.train.networks.architecture import Architecture
from edgevpr.train.networks.network import Network

#: Exits that pay, by backbone. The cost of MobileViTv2 sits in its early, large maps: 3.1 saves
#: almost nothing.
EXITS = {
    "efficientvit_b2": ("1.3", "2.2", "2.4", "3.2", "3.4"),
    "mobilevitv2_100": ("1.1", "2.1", "3.1"),
    "dinov2_vitb14": ("L4", "L6", "L8", "L10"),
}


class ExitCost(NamedTuple):
    """Arithmetic for one image through one exit."""

    #: (C, rows, columns) of the exit's state; the class token is no part of it.
    map: tuple[int, int, int]
    #: billions.
    multiply_adds_g: float
    #: of the whole path's.
    share: float


def exit_costs(anytime: AnytimeNetwork) -> dict[str, ExitCost]:
    """By exit, "full" last; counted on torch's meta device, with the weights where they are."""
    state = torch.empty(1, 3, *anytime.image_size, device="meta")
    names = (*anytime.exits, FULL)
    maps, totals = {}, {}
    so_far = tail = 0.0
    for name, segment in zip(names, anytime.segments, strict=True):
        state, spent = _counted(segment, state)
        so_far += spent
        tokens, head = (state, 0.0) if name == FULL else _counted(anytime.heads[name], state)
        if not tail:
            _, tail = _counted(anytime.tail, tokens)
        maps[name] = _map(state, anytime.tail.grid)
        totals[name] = so_far + head + tail
    return {name: ExitCost(maps[name], totals[name], totals[name] / totals[FULL]) for name in names}


def costs_of(
    architecture: Architecture, exits: Sequence[str], image_size: int
) -> dict[str, ExitCost]:
    """Exit costs of a network that is not built, with MLP adapters and a codebook of default shape.

    Raises:
        UsageError: exits that the architecture does not have, or an image size it cannot take.
    """
    size = (image_size, image_size)
    with torch.device("meta"):
        network = Network(architecture, size)
        tokens = token_shape(network, size)
        heads, entries = default_shape(tokens.width)
        codebook = Codebook(heads, entries, tokens.width, tokens.with_token)
        return exit_costs(
            AnytimeNetwork(network, [ExitSpec(name) for name in exits], codebook, size)
        )


def _counted(module: nn.Module, given: Tensor) -> tuple[Tensor, float]:
    """What a module gives, and its billions of multiply-adds."""
    with FlopCounterMode(display=False) as counter:
        out = on_meta(module, given)
    return out, counter.get_total_flops() / 2e9


def _map(state: Tensor, grid: tuple[int, int]) -> tuple[int, int, int]:
    if state.ndim == 3:
        return (state.shape[2], *grid)
    return (state.shape[1], state.shape[2], state.shape[3])
