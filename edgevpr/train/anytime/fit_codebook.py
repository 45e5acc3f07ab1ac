"""Stage 1: the codebook of a network's tokens, from images to an artifact (``edgevpr codebook``).

"Towards Anytime Visual Place Recognition via Manifold-aware Codebook Composition" (Kim, Cho and
Yoon). With F the tokens that the aggregator agg reads and F^ what the codebook composes of them::

    L = || agg(F^) - agg(F) ||^2  ( + lambda ||F^ - F||^2 / ||F||^2 )

The heads are concatenated before they are aggregated: an aggregator takes D channels. Network and
aggregator are frozen and in evaluation mode.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgevpr import __version__
from edgevpr.data.image_files import list_images, unread
from edgevpr.data.left_out import LeftOut
from edgevpr.errors import DataError
from edgevpr.guard import keeps_inputs
from edgevpr.progress import Track, silent
from edgevpr.train.anytime.anytime_network import Tail, token_shape
from edgevpr.train.anytime.codebook import Codebook, default_shape
from edgevpr.train.anytime.codebook_config import CodebookConfig
from edgevpr.train.anytime.prototypes import TOKENS_PER_PROTOTYPE, starting_prototypes
from edgevpr.train.anytime.state_cache import InRows, store_states, unreadable_rows
from edgevpr.train.anytime.store import save_codebook
from edgevpr.train.images import Images, ShuffledBatches, loader
from edgevpr.train.losses.distillation import regression
from edgevpr.train.modules import Training
from edgevpr.train.networks.model import load_model
from edgevpr.train.networks.network import Network, best_device
from edgevpr.train.record import StepRecorder, TrainingStep
from edgevpr.train.trainer import Trainer, quiet_and_seeded

#: Images, spread over all, that starting prototypes are drawn from.
_STARTING_IMAGES = 2048
#: Of the images, what is held out to measure agg(F^) on, and at most how many.
HELD_OUT, _MOST_HELD_OUT = 0.05, 512


@keeps_inputs("out", "tensorboard", filled=("tensorboard",))
def fit_codebook(
    config: CodebookConfig,
    out: Path,
    *,
    resume: bool = False,
    tensorboard: Path | None = None,
    left_out: list[LeftOut] | None = None,
    on_step: Callable[[TrainingStep], None] | None = None,
    track: Track = silent,
) -> dict[str, Any]:
    """Learn a codebook and write its artifact; returns its training record.

    As ``edgevpr.train.fit.fit``: a checkpoint is kept beside ``out`` after every epoch, and
    ``resume`` goes on from it to the same codebook, to the bit. One image in twenty is held out;
    ``cosine`` in the record is that of agg(F^) to agg(F) on those.

    Args:
        left_out: gets the images that cannot be read; None: they are errors.

    Raises:
        DataError: no image, one that cannot be read, or fewer tokens than prototypes.
        UsageError: heads that the tokens do not divide into, or ``resume`` with other settings.
        NumericsError: the loss became NaN or infinite.
    """
    quiet_and_seeded(config.seed)
    network, about, opened = load_model(config.model)
    images = Images(config.images, list_images(config.images, left_out), about.preprocess)
    rows = np.arange(len(images))
    if left_out is not None:
        bad = unreadable_rows(images, rows, config.workers)
        left_out += unread(config.images, [images.paths[row] for row in bad])
        rows = np.setdiff1d(rows, bad)
    training_rows, held_out = split_rows(rows, config.seed)
    frozen = FrozenTokens(network, (about.preprocess.height, about.preprocess.width))
    frozen.to(best_device())
    shape = frozen.shape
    heads, size = default_shape(shape.width)
    torch.manual_seed(config.seed)
    codebook = Codebook(
        config.heads or heads, config.size or size, shape.width, class_token=shape.with_token
    )
    recorder = StepRecorder(config.seed, config.epochs, on_step)
    trainer = Trainer(config, recorder, out, resume=resume, tensorboard=tensorboard)
    stored = store_states(
        images, training_rows, frozen, config.max_cache_mb, workers=config.workers, track=track
    )
    if not trainer.resumes:
        spread = np.linspace(0, len(training_rows) - 1, min(len(training_rows), _STARTING_IMAGES))
        chosen = training_rows[np.unique(spread.round().astype(int))]
        _start(codebook, frozen, loader(stored or images, InRows(chosen), 0), len(chosen), config)
    module = CodebookTraining(codebook, frozen, config)
    batches = ShuffledBatches(training_rows, config.batch_size, config.seed)
    kept = stored is not None
    trainer.run(module, loader(stored or images, batches, 0 if kept else config.workers))
    training = (
        recorder.summary()
        | {
            "heads": codebook.heads,
            "size": codebook.size,
            "cosine": _held_out_cosine(codebook, frozen, images, held_out, config.workers),
            "held_out": len(held_out),
            "images": len(rows),
            "inverse_temperature": [round(float(b), 3) for b in codebook.inverse_temperatures()],
            "reseeded": int(module.get_buffer("reseeded")),
            "cached_mb": round(stored.megabytes, 1) if stored is not None else 0.0,
        }
        | ({"left_out": [str(each) for each in left_out]} if left_out else {})
        | trainer.facts(module)
    )
    save_codebook(
        out,
        codebook.cpu(),
        model=opened,
        init=config.init,
        training=training,
        config=config.to_dict() | {"edgevpr": __version__},
        metrics_csv=recorder.to_csv(),
    )
    trainer.forget_checkpoints()
    return training


class FrozenTokens(nn.Module):
    """(B, 3, H, W) images -> (B, T, D) tokens F and (B, dim) descriptors agg(F)."""

    def __init__(self, network: Network, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.shape = token_shape(network, image_size)
        self.tail = Tail(network, self.shape)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.backbone(self.network.standardize(images))
        patches, first = features if isinstance(features, tuple) else (features, None)
        tokens = patches.flatten(2).transpose(1, 2)
        if first is not None:
            tokens = torch.cat([first[:, None], tokens], 1)
        return tokens, self.tail(tokens)


class CodebookTraining(Training):
    """Prototypes, where they are learned, and temperatures of a codebook.

    A prototype that was nearest to no token for ``reseed_steps`` steps becomes a token of the
    batch at hand. In the last quarter of the run none is moved any more.
    """

    def __init__(self, codebook: Codebook, frozen: FrozenTokens, config: CodebookConfig) -> None:
        super().__init__(config)
        self.codebook, self.settings = codebook, config
        for name in codebook.books():
            codebook.get_parameter(name).requires_grad_(config.init == "learned")
            unused = torch.zeros(codebook.heads, codebook.size, dtype=torch.int64)
            self.register_buffer(f"unused_{name}", unused)
        self.register_buffer("reseeded", torch.zeros((), dtype=torch.int64))
        # No part of this module: neither trained nor written into checkpoints.
        self._frozen = [frozen]
        self._tokens: Tensor | None = None

    def on_fit_start(self) -> None:
        self._frozen[0].to(self.device)

    def training_step(self, batch: tuple[Any, Tensor], number: int) -> Tensor:
        given, _ = batch
        if isinstance(given, Tensor):
            with torch.no_grad():
                given = self._frozen[0](given)
        tokens, target = given
        weights = self.codebook.assign(tokens)
        found = self.codebook.compose(weights)
        loss = regression(self._frozen[0].tail(found), target)
        if self.settings.token_weight:
            loss = loss + self.settings.token_weight * token_error(found, tokens)
        if self.settings.init == "learned" and self.settings.reseed_steps:
            self._count(weights.detach())
            self._tokens = tokens
        return self.report(loss)

    def on_train_batch_end(self, *_: Any) -> None:
        """Draw unused prototypes anew, once the step that used the others is done."""
        late = self.global_step > 0.75 * int(self.trainer.estimated_stepping_batches)
        if self._tokens is not None and not late:
            self._reseed(self._tokens, self.optimizers().state)
        self._tokens = None

    def _count(self, weights: Tensor) -> None:
        """Steps that each prototype has been nearest to no token for, by A (B, H, T, M)."""
        for name, of_book in self.codebook.books_of(weights.transpose(1, 2)):
            unused = self.get_buffer(f"unused_{name}")
            unused += 1
            for head, nearest in enumerate(of_book.argmax(-1).flatten(0, 1).T):
                unused[head, nearest] = 0

    @torch.no_grad()
    def _reseed(self, tokens: Tensor, moments: Any) -> None:
        draw = np.random.default_rng((self.settings.seed, self.global_step))
        for name, part in self.codebook.books_of(tokens):
            unused = self.get_buffer(f"unused_{name}")
            dead = (unused >= self.settings.reseed_steps).nonzero()
            prototypes = self.codebook.get_parameter(name)
            heads = part.reshape(-1, self.codebook.heads, prototypes.shape[2])  # (B T, H, d)
            chosen = torch.from_numpy(draw.integers(len(heads), size=len(dead))).to(heads.device)
            head, code = dead.T
            prototypes[head, code] = heads[chosen, head].to(prototypes.dtype)
            for moment in ("exp_avg", "exp_avg_sq"):  # of what it was before
                if moment in moments.get(prototypes, {}):
                    moments[prototypes][moment][head, code] = 0
            unused[head, code] = 0
            self.get_buffer("reseeded").add_(len(dead))


def token_error(found: Tensor, tokens: Tensor) -> Tensor:
    """Mean over the images of ||F^ - F||^2 / ||F||^2; both (B, T, D)."""
    return ((found - tokens).square().sum((1, 2)) / tokens.square().sum((1, 2))).mean()


def split_rows(rows: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on and rows held out, both sorted.

    Raises:
        DataError: a single image.
    """
    if len(rows) < 2:
        raise DataError(
            f"found {len(rows)} image, expected 2 or more, as one is held out: pass more images"
        )
    count = min(max(1, round(HELD_OUT * len(rows))), _MOST_HELD_OUT)
    order = np.random.default_rng((seed, 0x0DD)).permutation(rows)
    return np.sort(order[count:]), np.sort(order[:count])


@torch.no_grad()
def _start(
    codebook: Codebook,
    frozen: FrozenTokens,
    batches: Iterable[Any],
    count: int,
    config: CodebookConfig,
) -> None:
    """Fill the books with prototypes from tokens of ``count`` images."""
    wanted = TOKENS_PER_PROTOTYPE * codebook.size
    draw = np.random.default_rng((config.seed, 1))
    drawn: dict[str, list[Tensor]] = {name: [] for name in codebook.books()}
    for given, _ in batches:
        tokens, _ = frozen(given.to(best_device())) if isinstance(given, Tensor) else given
        for name, part in codebook.books_of(tokens):
            each = min(part.shape[1], -(-wanted // count))
            for image in part.float().cpu():
                at = draw.choice(len(image), each, replace=False)
                drawn[name].append(image[torch.from_numpy(at)])
    for name, found in drawn.items():
        prototypes = starting_prototypes(
            torch.cat(found), codebook.heads, codebook.size, config.init, config.seed
        )
        codebook.get_parameter(name).copy_(prototypes)


@torch.no_grad()
def _held_out_cosine(
    codebook: Codebook,
    frozen: FrozenTokens,
    images: Images,
    rows: NDArray[np.int64],
    workers: int,
) -> float:
    """Mean cosine of agg(F^) to agg(F)."""
    codebook.to(best_device())
    frozen.to(best_device())
    cosines = []
    for pixels, _ in loader(images, InRows(rows), workers):
        tokens, target = frozen(pixels.to(best_device()))
        cosines.append((frozen.tail(codebook(tokens)) * target).sum(1).cpu())
    return round(float(torch.cat(cosines).mean()), 4)
