"""Cost of a network: parameters and multiply-adds."""

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from edgevpr.train.networks.architecture import Architecture
from edgevpr.train.networks.network import Network, parameters_m


class NetworkCost(NamedTuple):
    """Size of a network, and its arithmetic for one image."""

    dim: int
    #: millions.
    parameters_m: float
    #: billions, of matrix products, convolutions and attention; torch's FLOP counter over two.
    multiply_adds_g: float


def cost_of(architecture: Architecture, image_size: int = 322) -> NetworkCost:
    """Count on torch's meta device: nothing is computed, no weights are held."""
    with torch.device("meta"), torch.no_grad():
        network = Network(architecture, (image_size, image_size)).eval()
        counter = FlopCounterMode(display=False)
        with counter:
            network(torch.empty(1, 3, image_size, image_size))
    return NetworkCost(network.dim, parameters_m(network), counter.get_total_flops() / 2e9)
