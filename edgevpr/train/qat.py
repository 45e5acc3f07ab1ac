"""Quantization-aware finetuning: INT8 rounding in the forward pass, straight-through gradients.

The layers are those that ``edgevpr compile`` quantizes for INT8, and they are rounded the way its
engines do: weights symmetric with a scale per output channel, activations symmetric with
one scale. A scale per channel makes rounding before batch norm is folded into the weights the same
as after. Gradients pass through the rounding unchanged, and stop where a value is clipped (Jacob
et al., CVPR 2018). What is saved is an ordinary network: compile calibrates it as any other.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgevpr.errors import UsageError
from edgevpr.int8_rule import INT8_INTENSITY, INT8_ROWS
from edgevpr.train.networks.network import Network

_LARGEST = 127


class RoundedWeight(nn.Module):
    """(out, ...) weights -> the same on the INT8 grid, a scale per output channel."""

    def forward(self, weight: Tensor) -> Tensor:
        weight = weight.float()
        peak = weight.detach().flatten(1).abs().amax(1)
        scale = (peak / _LARGEST).clamp(min=1e-12)
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -_LARGEST, _LARGEST)


class RoundedInput(nn.Module):
    """Activations on the INT8 grid; the range follows the largest magnitudes seen in training.

    Args:
        momentum: of the moving average of each batch's largest magnitude.
    """

    def __init__(self, momentum: float = 0.05) -> None:
        super().__init__()
        self.momentum = momentum
        self.peak: Tensor
        self.register_buffer("peak", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            peak = x.detach().float().abs().amax()
            first = self.peak == 0
            self.peak.copy_(torch.where(first, peak, self.peak.lerp(peak, self.momentum)))
        scale = (self.peak / _LARGEST).clamp(min=1e-12)
        zero = torch.zeros((), dtype=torch.int32, device=x.device)
        rounded = torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, -_LARGEST, _LARGEST)
        # No range before the first batch; chosen on the device, so that nothing waits for a GPU.
        return torch.where(self.peak == 0, x, rounded.to(x.dtype))


def int8_modules(network: Network, image_size: tuple[int, int]) -> list[str]:
    """Names of the dense convolutions and linear layers with enough arithmetic for INT8.

    Args:
        image_size: (height, width) of the network's input.
    """
    found: list[str] = []
    handles = []
    names = {module: name for name, module in network.named_modules()}
    first = True

    def note_layer(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal first
        reads_image, first = first, False
        depth = module.get_parameter("weight")[0].numel()
        dense, rows = True, INT8_ROWS
        if isinstance(module, nn.Conv2d):
            dense = module.groups == 1
        else:
            rows = inputs[0].numel() // depth
        moved = inputs[0].numel() + output.numel()
        intensity = depth * output.numel() / moved
        if dense and not reads_image and rows >= INT8_ROWS and intensity >= INT8_INTENSITY:
            found.append(names[module])

    for module in names:
        if isinstance(module, nn.Conv2d | nn.Linear):
            handles.append(module.register_forward_hook(note_layer))
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, *image_size))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def rounded_to_int8(network: Network, image_size: tuple[int, int]) -> Iterator[list[str]]:
    """A block in which the network computes its INT8 layers as an INT8 engine would.

    Yields the layers' names. Afterwards the network is as before, with the weights trained.

    Raises:
        UsageError: no layer of this network gains from INT8.
    """
    names = int8_modules(network, image_size)
    if not names:
        raise UsageError(
            f"found no layer of {network.architecture.backbone} at {image_size[0]} x "
            f"{image_size[1]} px that is faster in INT8, expected some: leave out `qat` and "
            "compile in FP16"
        )
    layers = [network.get_submodule(name) for name in names]
    handles = []
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", RoundedWeight())
        rounded = RoundedInput()
        layer.add_module("rounded_input", rounded)
        handles.append(
            layer.register_forward_pre_hook(lambda _, inputs, r=rounded: (r(inputs[0]),))
        )
    try:
        yield names
    finally:
        for layer, handle in zip(layers, handles, strict=True):
            handle.remove()
            del layer.rounded_input
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
