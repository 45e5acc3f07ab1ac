"""A place-recognition network: a backbone's features, aggregated into one descriptor."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from edgevpr.errors import UsageError
from edgevpr.train.aggregators import BoQ
from edgevpr.train.backbones import TimmFeatures

#: Aggregators by name: (input channels, arguments) -> module with a ``dim``.
AGGREGATORS = {"boq": BoQ}


@dataclass(frozen=True)
class Architecture:
    """What it takes to build a network; stored in ``model.json``."""

    #: a timm model.
    backbone: str
    #: which of the backbone's feature levels; -1 is the deepest.
    out_index: int = -1
    #: further arguments of the timm model.
    backbone_args: dict[str, Any] = field(default_factory=dict)
    aggregator: str = "boq"
    #: arguments of the aggregator other than its input channels.
    aggregator_args: dict[str, Any] = field(default_factory=dict)
    #: "instance" standardizes each image's channels before the backbone: day and night come closer
    #: without being learned. Published weights need "none".
    input_norm: Literal["none", "instance"] = "none"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Architecture":
        return msgspec.convert(record, cls)


class Network(nn.Module):
    """(B, 3, H, W) normalized RGB -> (B, D) L2-normalized descriptors."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        if architecture.aggregator not in AGGREGATORS:
            known = ", ".join(sorted(AGGREGATORS))
            raise UsageError(f"unknown aggregator {architecture.aggregator!r}; known: {known}")
        self.architecture = architecture
        self.standardize = (
            nn.InstanceNorm2d(3) if architecture.input_norm == "instance" else nn.Identity()
        )
        self.backbone = TimmFeatures(
            architecture.backbone, architecture.out_index, architecture.backbone_args
        )
        aggregator = AGGREGATORS[architecture.aggregator]
        self.aggregator = aggregator(self.backbone.channels, **architecture.aggregator_args)
        self.dim: int = self.aggregator.dim

    def forward(self, images: Tensor) -> Tensor:
        descriptors: Tensor = self.aggregator(self.backbone(self.standardize(images)))
        return descriptors


def parameters_m(network: nn.Module) -> float:
    """Parameters in millions."""
    return sum(p.numel() for p in network.parameters()) / 1e6


def best_device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
