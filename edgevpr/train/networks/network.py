"""Place-recognition network: a backbone's features, aggregated into one descriptor."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edgevpr.errors import UsageError
from edgevpr.train.networks.aggregators import MLP, SALAD, BoQ, GeM, SuperVLAD
from edgevpr.train.networks.architecture import Architecture
from edgevpr.train.networks.backbones import DINOv2Features, TimmFeatures

#: Aggregators by name: (input channels, arguments) -> module with a ``dim``.
AGGREGATORS: dict[str, Callable[..., Any]] = {
    "boq": BoQ,
    "salad": SALAD,
    "supervlad": lambda channels, **args: SuperVLAD(dim=channels, **args),
    "gem": GeM,
    "mlp": MLP,
}


class Network(nn.Module):
    """(B, 3, H, W) normalized RGB -> (B, D) L2-normalized descriptors.

    Args:
        architecture: what to build.
        image_size: (height, width) it will see; checked against backbone and aggregator.

    Raises:
        UsageError: no such aggregator or backbone, arguments they do not take, or an image size
            that they cannot work on.
    """

    def __init__(
        self, architecture: Architecture, image_size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        if architecture.aggregator not in AGGREGATORS:
            known = ", ".join(sorted(AGGREGATORS))
            raise UsageError(
                f"found `aggregator` {architecture.aggregator}, expected one of {known}: change it"
            )
        self.architecture = architecture
        self.standardize = (
            nn.InstanceNorm2d(3) if architecture.input_norm == "instance" else nn.Identity()
        )
        self.backbone: TimmFeatures | DINOv2Features = _backbone(architecture)
        aggregator = AGGREGATORS[architecture.aggregator]
        try:
            self.aggregator = aggregator(self.backbone.channels, **architecture.aggregator_args)
        except TypeError as error:
            raise UsageError(
                f"found `aggregator_args` {architecture.aggregator_args}, expected arguments of "
                f"{architecture.aggregator} ({error}): change `aggregator_args`"
            ) from error
        self.dim: int = self.aggregator.dim
        if image_size is not None:
            self.check_input(*image_size)

    def forward(self, images: Tensor) -> Tensor:
        descriptors: Tensor = self.aggregator(self.backbone(self.standardize(images)))
        return descriptors

    def check_input(self, height: int, width: int) -> None:
        """Refuse an image size that backbone or aggregator cannot work on."""
        rows, columns = self.backbone.grid(height, width)
        if isinstance(self.aggregator, SALAD):
            clusters = self.aggregator.num_clusters
            if rows * columns <= clusters:
                side = self.backbone.reduction * (int(clusters**0.5) + 1)
                raise UsageError(
                    f"found {rows} x {columns} = {rows * columns} patches of "
                    f"{self.architecture.backbone} at {height} x {width} px, expected more than "
                    f"SALAD's {clusters} clusters: pass `image_size` {side} or larger, or a "
                    "smaller `out_index`"
                )


def _backbone(architecture: Architecture) -> TimmFeatures | DINOv2Features:
    """The backbone; what the published networks differ in follows from the aggregator."""
    if not architecture.backbone.startswith("dinov2_"):
        return TimmFeatures(
            architecture.backbone, architecture.out_index, architecture.backbone_args
        )
    boq = architecture.aggregator == "boq"
    try:
        return DINOv2Features(
            architecture.backbone,
            final_norm=not boq,
            with_token=architecture.aggregator == "salad",
            attribute="dino" if boq else "model",
            **architecture.backbone_args,
        )
    except TypeError as error:
        raise UsageError(
            f"found `backbone_args` {architecture.backbone_args}, expected arguments of "
            f"{architecture.backbone} ({error}): change `backbone_args`"
        ) from error


def parameters_m(network: nn.Module) -> float:
    """Parameters in millions."""
    return sum(p.numel() for p in network.parameters()) / 1e6


def best_device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
