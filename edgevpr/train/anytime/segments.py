"""Backbones cut at early exits: segments that one after another are the whole backbone.

An exit is a name: "L4" after block 4 of DINOv2, counted from one; "2.1" after block 1 of stage 2
of a timm model, counted as timm counts (``stages.2.blocks.1``, ``layer2.1``, ``blocks.2.1``), or
"2" after a stage that does not come apart. The last of them is no exit: after it, the whole
backbone has run.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from timm.models import FeatureListNet
from timm.models.efficientnet import EfficientNetFeatures
from timm.models.mobilenetv3 import MobileNetV3Features
from torch import Tensor, nn

from edgevpr.errors import UsageError
from edgevpr.train.networks.backbones import DINOv2, DINOv2Features, DINOv2Stem, TimmFeatures
from edgevpr.train.networks.network import Network

#: (exit after it, or "", module) of a backbone, in the order they run.
Steps = list[tuple[str, nn.Module]]

#: A stage of a timm model by the name that its feature extractor gives it.
_STAGE = re.compile(r"(?:stages_|layers?_?|blocks_)(\d+)")


def possible_exits(network: Network) -> tuple[str, ...]:
    """Names of all early exits of a network, earliest first; none where it does not come apart."""
    return tuple(name for name, _ in _steps(network) if name)[:-1]


def cut(network: Network, exits: Sequence[str]) -> list[nn.Module]:
    """One segment more than exits, made of the network's own modules: nothing is copied.

    The first takes (B, 3, H, W) normalized images, the others the state that the one before gives:
    (B, 1 + N, C) tokens of DINOv2, or a (B, C, h, w) map. The last gives (B, T, D) tokens, row by
    row, which is what the aggregator reads; its class token, if it reads one, comes first.

    Raises:
        UsageError: no exits, an exit the network does not have, or exits that are not in order.
    """
    check_exits(network, exits)
    segments: list[nn.Module] = []
    modules: list[nn.Module] = []
    for name, module in _steps(network):
        modules.append(module)
        if name in exits:
            segments.append(nn.Sequential(*modules))
            modules = []
    return [*segments, nn.Sequential(*modules)]


def check_exits(network: Network, exits: Sequence[str]) -> None:
    """Raise unless these are early exits of the network, earliest first.

    Raises:
        UsageError: they are not.
    """
    possible = possible_exits(network)
    backbone = network.architecture.backbone
    if not possible:
        raise UsageError(
            f"found `backbone` {backbone}, expected one whose stages come apart (DINOv2, "
            "EfficientViT, MobileViTv2, ResNet, MobileNet, EfficientNet): train another network"
        )
    if not exits:
        raise UsageError(
            f"found no `exits`, expected one or more of {backbone}'s {_listed(possible)}: pass "
            f"`exits` {possible[len(possible) // 3]}"
        )
    for name in exits:
        if name not in possible:
            last = [step for step, _ in _steps(network) if step][-1]
            what = "where the backbone ends" if name == last else "which it does not have"
            raise UsageError(
                f"found {name} in `exits`, {what}, expected early exits of {backbone}: choose from "
                f"{_listed(possible)}"
            )
    order = sorted(set(exits), key=possible.index)
    if list(exits) != order:
        raise UsageError(
            f"found `exits` {','.join(exits)}, expected each once, earliest first: pass `exits` "
            f"{','.join(order)}"
        )


class _ReadTokens(nn.Module):
    """(B, 1 + N, C) -> (B, T, C): without the class token, unless the aggregator reads it."""

    def __init__(self, with_token: bool) -> None:
        super().__init__()
        self.first = 0 if with_token else 1

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, self.first :]


class _ReadMap(nn.Module):
    """(B, C, h, w) -> (B, h w, C)."""

    def forward(self, features: Tensor) -> Tensor:
        return features.flatten(2).transpose(1, 2)


def _steps(network: Network) -> Steps:
    backbone = network.backbone
    inner = _dinov2_steps(backbone) if isinstance(backbone, DINOv2Features) else _timm(backbone)
    return [("", network.standardize), *inner]


def _dinov2_steps(backbone: DINOv2Features) -> Steps:
    network: DINOv2 = getattr(backbone, backbone.attribute)
    blocks = [(f"L{number}", block) for number, block in enumerate(network.blocks, 1)]
    norm = [("", network.norm)] if backbone.final_norm else []
    return [("", DINOv2Stem(network)), *blocks, *norm, ("", _ReadTokens(backbone.with_token))]


def _timm(backbone: TimmFeatures) -> Steps:
    """The order is that of the forward pass of each of timm's feature extractors.

    A stage that is not known to be a chain of blocks is one step; an extractor that is not known
    is one step without exits.
    """
    body = backbone.body
    steps: Steps = []
    if isinstance(body, FeatureListNet) and body.output_fmt == "NCHW":
        for name, module in body.items():
            stage = _STAGE.fullmatch(name)
            steps += _blocks(stage.group(1), module) if stage else [("", module)]
    elif (
        isinstance(body, EfficientNetFeatures | MobileNetV3Features) and body.feature_hooks is None
    ):
        steps = [("", body.conv_stem), ("", body.bn1)]
        if isinstance(body, MobileNetV3Features):
            steps.append(("", body.act1))
        # Feature levels count the stem as 0. Stages behind the level are not run.
        (level,) = body._stage_out_idx
        for number, stage in enumerate(body.blocks[:level]):
            steps += _blocks(str(number), stage)
    else:
        steps = [("", _OneMap(backbone))]
    return [*steps, ("", _ReadMap())]


class _OneMap(nn.Module):
    """(B, 3, H, W) -> (B, C, h, w) of a backbone that does not come apart."""

    def __init__(self, backbone: TimmFeatures) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.backbone(images)
        return features


def _blocks(number: str, stage: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A stage as its blocks, where it is a plain chain of them."""
    inner = dict(stage.named_children())
    # EfficientViT wraps the chain in a module of its own.
    if list(inner) == ["blocks"] and not list(stage.parameters(recurse=False)):
        stage = inner["blocks"]
    if type(stage) is nn.Sequential:
        for index, block in enumerate(stage):
            yield f"{number}.{index}", block
    else:
        yield number, stage


def _listed(names: Sequence[str]) -> str:
    """ "L1 .. L11" or "0.0, 1.0, 1.1, 2.0 .. 2.4": the names, by stage."""
    stages = defaultdict(list)
    for name in names:
        stages["L" if name.startswith("L") else name.partition(".")[0]].append(name)
    return ", ".join(
        f"{group[0]} .. {group[-1]}" if len(group) > 2 else ", ".join(group)
        for group in stages.values()
    )
