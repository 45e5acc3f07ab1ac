"""Unfolding of batch normalization that was folded into the convolutions of published weights.

The BatchNorm left in such networks has mean 0, variance 1 and a bias. The network computes the
right features, but the first training step normalizes each channel by the batch's own statistics
and destroys what was learned.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def unfold_batch_norm(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Give folded BatchNorm layers the statistics of (B, 3, H, W) ``batches``, and scale and bias
    that undo them: the outputs stay as they were, and nearly so in training.

    Nothing is done where a layer has statistics of its own.

    Returns:
        how many layers were folded.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    if not layers or not all(map(_is_folded, layers)):
        return 0
    sums = {layer: _Sums() for layer in layers}
    hooks = [layer.register_forward_pre_hook(each.add) for layer, each in sums.items()]
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            for pixels in batches:
                network(pixels)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    with torch.no_grad():
        for layer, each in sums.items():
            _unfold(layer, each)
    return len(layers)


class _Sums:
    """Sums and squares of a layer's input by channel, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total = self.squares = torch.zeros(())

    def add(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        x: Tensor = inputs[0].double()
        self.count += x.numel() // x.shape[1]
        self.total = self.total + x.sum((0, 2, 3))
        self.squares = self.squares + x.square().sum((0, 2, 3))


def _is_folded(layer: nn.BatchNorm2d) -> bool:
    mean, variance = layer.running_mean, layer.running_var
    return (
        mean is not None and variance is not None and not mean.any() and bool((variance == 1).all())
    )


def _unfold(layer: nn.BatchNorm2d, sums: _Sums) -> None:
    if not sums.count:  # not part of the features in use
        return
    mean = sums.total / sums.count
    variance = (sums.squares / sums.count - mean.square()).clamp_min(0)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.bias.add_(layer.weight * mean / (1 + layer.eps) ** 0.5)
    layer.weight.mul_(((variance + layer.eps) / (1 + layer.eps)).sqrt())
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)
