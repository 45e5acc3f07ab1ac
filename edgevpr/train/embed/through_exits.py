"""Networks that describe images through early exits, as ``describe_images`` takes them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import ModelRecord
from edgevpr.errors import UsageError
from edgevpr.train.anytime.anytime_network import AnytimeNetwork
from edgevpr.train.anytime.store import load_anytime
from edgevpr.train.networks.load_network import load_network
from edgevpr.train.networks.network import Network
from edgevpr.train.networks.onnx_network import OnnxNetwork


class ThroughExits(nn.Module):
    """(B, 3, H, W) -> (B, E * D): descriptors by E exits side by side, from one pass.

    Args:
        exits: names, "full" for the whole path.
    """

    def __init__(self, anytime: AnytimeNetwork, exits: Sequence[str]) -> None:
        super().__init__()
        self.anytime, self.exits = anytime, tuple(exits)
        self.dim = len(self.exits) * anytime.dim

    def forward(self, images: Tensor) -> Tensor:
        found = self.anytime.forward_exits(images, self.exits)
        return torch.cat([found[name] for name in self.exits], 1)


#: What describes images.
Describing = Network | OnnxNetwork | ThroughExits


def load_through(path: Path, exit: str) -> tuple[Describing, ModelRecord, Artifact]:
    """Open a model to describe images through one exit; "" and "full" are the whole path.

    Raises:
        ArtifactError: the model has no exits, or is damaged.
        UsageError: it does not have this one; names those that it has.
    """
    if exit in ("", FULL):
        return load_network(path)
    anytime, record, opened = load_anytime(path)
    if exit not in anytime.exits:
        raise UsageError(
            f"found `exit` {exit}, expected one of {path}: pass {', '.join(anytime.exits)}, or "
            f"leave it out for the full path"
        )
    return ThroughExits(anytime, [exit]), record, opened
