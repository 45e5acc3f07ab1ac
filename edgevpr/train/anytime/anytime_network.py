"""Anytime network: a trained network with early exits that answer in its own descriptor space.

"Towards Anytime Visual Place Recognition via Manifold-aware Codebook Composition" (Kim, Cho and
Yoon). With S_1 .. S_{K+1} the segments of the backbone, phi_k the adapter of exit k, C the
composition from the codebook and A the aggregator, all but phi_k frozen::

    full:    A( S_{K+1} ... S_1(x) )
    exit k:  A( C( phi_k( S_k ... S_1(x) ) ) )
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgevpr.artifacts.exit_contract import FULL as FULL
from edgevpr.errors import UsageError
from edgevpr.train.anytime.adapters import ADAPTERS, Regrid
from edgevpr.train.anytime.codebook import Codebook
from edgevpr.train.anytime.segments import cut
from edgevpr.train.networks.network import Network


@dataclass(frozen=True)
class ExitSpec:
    """One early exit: where it leaves the backbone, and how tokens are made of its state."""

    name: str
    method: Literal["composition", "regression"] = "composition"
    adapter: Literal["mlp", "attention"] = "mlp"


@dataclass(frozen=True)
class TokenShape:
    """Tokens that an aggregator reads of one image."""

    #: D.
    width: int
    #: rows and columns of patches.
    grid: tuple[int, int]
    #: a class token comes first.
    with_token: bool


class AnytimeNetwork(nn.Module):
    """(B, 3, H, W) normalized RGB -> (B, D) L2-normalized descriptors, through a chosen exit.

    The whole path gives what ``network`` gives, to the bit. Network and codebook are frozen: they
    take no gradient and stay in evaluation mode in training, BatchNorm and dropout included.
    (torch chooses kernels by ``requires_grad``, without gradients too: a network that is not
    frozen may differ from itself by a rounding.)

    Args:
        network: whose parameters are used, not copied; its gradients are switched off.
        exits: earliest first.
        codebook: learned on the tokens of ``network``; None where no exit composes from it.
        image_size: (height, width) of the images, in pixels.

    Attributes:
        exits: names, earliest first, without "full".
        segments: K + 1 modules: images to the state of exit 1, state to state, state to tokens.
        heads: by exit, a state to (B, T, D) tokens: adapter and, where it composes, the codebook.
        tail: (B, T, D) tokens to (B, dim) descriptors.
        adapters: what is trained, in the order of ``exits``.

    Raises:
        UsageError: exits that the network does not have or that are not in order, a map that
            cannot be brought to the aggregator's grid, or a codebook that does not fit.
    """

    def __init__(
        self,
        network: Network,
        exits: Sequence[ExitSpec],
        codebook: Codebook | None,
        image_size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.exits = tuple(spec.name for spec in exits)
        self.specs, self.image_size, self.dim = tuple(exits), image_size, network.dim
        segments = cut(network, self.exits)
        network.check_input(*image_size)
        *states, _ = state_shapes(segments, image_size)
        tokens = token_shape(network, image_size)
        _check_codebook(exits, codebook, tokens)
        self.network, self.codebook = network, codebook
        self.adapters = nn.ModuleList(
            ExitAdapter(spec, state, tokens) for spec, state in zip(exits, states, strict=True)
        )
        for frozen in (network, codebook):
            if frozen is not None:
                frozen.requires_grad_(False).eval()
        # Views of the modules above, which are registered there once.
        self._views: dict[str, Any] = {
            "segments": nn.ModuleList(segments).eval(),
            "heads": {
                spec.name: _head(adapter, spec, codebook).eval()
                for spec, adapter in zip(exits, self.adapters, strict=True)
            },
            "tail": Tail(network, tokens).eval(),
        }

    @property
    def segments(self) -> nn.ModuleList:
        segments: nn.ModuleList = self._views["segments"]
        return segments

    @property
    def heads(self) -> dict[str, nn.Module]:
        heads: dict[str, nn.Module] = self._views["heads"]
        return heads

    @property
    def tail(self) -> "Tail":
        tail: Tail = self._views["tail"]
        return tail

    def forward(self, images: Tensor, exit: str = FULL) -> Tensor:
        return self.forward_exits(images, (exit,))[exit]

    def forward_exits(self, images: Tensor, exits: Sequence[str]) -> dict[str, Tensor]:
        """Descriptors by exit, from one pass through the backbone as deep as is needed.

        Raises:
            UsageError: an exit that this network does not have, or images of another size.
        """
        return {name: self.tail(tokens) for name, tokens in self._tokens(images, exits)}

    def tokens(self, images: Tensor, exit: str = FULL) -> Tensor:
        """(B, T, D) tokens that the aggregator reads: the backbone's own, or those of an exit.

        Raises:
            UsageError: as ``forward_exits``.
        """
        ((_, tokens),) = self._tokens(images, (exit,))
        return tokens

    def train(self, mode: bool = True) -> "AnytimeNetwork":
        super().train(mode)
        for frozen in (self.network, self.codebook):
            if frozen is not None:
                frozen.eval()
        return self

    def _tokens(self, images: Tensor, exits: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        unknown = [name for name in exits if name not in (*self.exits, FULL)]
        if unknown:
            raise UsageError(
                f"found `exit` {unknown[0]}, expected one of this network: pass "
                f"{', '.join((*self.exits, FULL))}"
            )
        if tuple(images.shape[2:]) != tuple(self.image_size):
            raise UsageError(
                f"found images of {images.shape[2]} x {images.shape[3]} px, expected "
                f"{self.image_size[0]} x {self.image_size[1]}, which the exits were built for: "
                "resize them"
            )
        state, wanted = images, set(exits)
        for name, segment in zip((*self.exits, FULL), self.segments, strict=True):
            state = segment(state)
            if name in wanted:
                wanted.remove(name)
                yield name, state if name == FULL else self.heads[name](state)
            if not wanted:
                return


class ExitAdapter(nn.Module):
    """A state -> (B, T, D) regressed tokens: regridded, then through an adapter.

    Where the aggregator reads a class token, that has an MLP adapter of its own.
    """

    def __init__(self, spec: ExitSpec, state: tuple[int, ...], tokens: TokenShape) -> None:
        super().__init__()
        if spec.adapter not in ADAPTERS:
            raise UsageError(
                f"found `adapter` {spec.adapter}, expected one of {', '.join(ADAPTERS)}: change it"
            )
        sequence = len(state) == 3
        channels = state[2] if sequence else state[1]
        grid = tokens.grid if sequence else (state[2], state[3])
        self.regrid = Regrid(
            channels, tokens.width, grid, tokens.grid, class_token=tokens.with_token
        )
        self.adapter = ADAPTERS[spec.adapter](tokens.width)
        self.class_adapter = ADAPTERS["mlp"](tokens.width) if tokens.with_token else None

    def forward(self, state: Tensor) -> Tensor:
        tokens: Tensor = self.regrid(state)
        if self.class_adapter is not None:
            own = self.class_adapter(tokens[:, :1])
            return torch.cat([own, self.adapter(tokens[:, 1:])], 1)
        adapted: Tensor = self.adapter(tokens)
        return adapted


class Tail(nn.Module):
    """(B, T, D) tokens -> (B, dim) L2-normalized descriptors: the aggregator, as it reads maps."""

    def __init__(self, network: Network, tokens: TokenShape) -> None:
        super().__init__()
        self.aggregator = network.aggregator
        self.grid, self.with_token = tokens.grid, tokens.with_token

    def forward(self, tokens: Tensor) -> Tensor:
        patches = tokens[:, 1:] if self.with_token else tokens
        # (B, D, h, w) with the strides of the backbone's own map: nothing is copied.
        features = patches.transpose(1, 2).reshape(len(tokens), -1, *self.grid)
        given = (features, tokens[:, 0]) if self.with_token else features
        descriptors: Tensor = self.aggregator(given)
        return descriptors


def token_shape(network: Network, image_size: tuple[int, int]) -> TokenShape:
    """Shape of the tokens that a network's aggregator reads, found on torch's meta device."""
    features = on_meta(network.backbone, torch.empty(1, 3, *image_size, device="meta"))
    with_token = isinstance(features, tuple)
    shape = (features[0] if with_token else features).shape
    return TokenShape(shape[1], (shape[2], shape[3]), with_token)


def state_shapes(
    segments: Sequence[nn.Module], image_size: tuple[int, int]
) -> list[tuple[int, ...]]:
    """Shape of what each segment gives for one image, found on torch's meta device."""
    state = torch.empty(1, 3, *image_size, device="meta")
    shapes = []
    for segment in segments:
        state = on_meta(segment, state)
        shapes.append(tuple(state.shape))
    return shapes


def on_meta(module: nn.Module, given: Tensor) -> Any:
    """Run a module, in evaluation mode, on torch's meta device: nothing is computed or copied."""
    there: dict[str, Tensor] = {name: b.to("meta") for name, b in module.named_buffers()}
    for name, parameter in module.named_parameters():
        there[name] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            return torch.func.functional_call(module, there, (given,))
    finally:
        for each, mode in modes:
            each.training = mode


def _head(adapter: nn.Module, spec: ExitSpec, codebook: Codebook | None) -> nn.Module:
    if spec.method == "regression" or codebook is None:
        return adapter
    return nn.Sequential(adapter, codebook)


def _check_codebook(
    exits: Sequence[ExitSpec], codebook: Codebook | None, tokens: TokenShape
) -> None:
    for spec in exits:
        if spec.method not in ("composition", "regression"):
            raise UsageError(
                f"found `method` {spec.method} of exit {spec.name}, expected composition or "
                "regression: change it"
            )
        if spec.method == "composition" and codebook is None:
            raise UsageError(
                f"found no `codebook` for exit {spec.name}, expected one to compose tokens from: "
                "pass `codebook`, or regression as its method"
            )
    if codebook is None:
        return
    found, expected = (
        f"{width} channels {'with' if token else 'without'} a class token"
        for width, token in (
            (codebook.dim, codebook.class_token), (tokens.width, tokens.with_token)
        )
    )  # fmt: skip
    if found != expected:
        raise UsageError(
            f"found a `codebook` of tokens of {found}, expected {expected}, which this network's "
            "aggregator reads: learn one with edgevpr codebook MODEL IMAGES -o CODEBOOK"
        )
