"""Stage 2: the early exits of a trained network, to a model artifact (``edgevpr train --anytime``).

"Towards Anytime Visual Place Recognition via Manifold-aware Codebook Composition" (Kim, Cho and
Yoon). Backbone, codebook and aggregator are frozen and in evaluation mode; what is trained are the
adapters, all of them in one run, by the sum of their losses: towards the network's own descriptor
of the full path by its squared distance, or into the gallery network's space by Eq. 8 of the same
authors' "Towards Test-time Efficient Visual Place Recognition via Asymmetric Query Processing".

Adapters share nothing that is trained, so an exit learns the same whichever others are beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgevpr import __version__
from edgevpr.artifacts.features import Features
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.space import check_same_space
from edgevpr.data import read_images
from edgevpr.data.image_files import list_images, unread
from edgevpr.data.left_out import LeftOut
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.progress import Track, silent
from edgevpr.train.anytime.anytime_network import AnytimeNetwork, ExitSpec
from edgevpr.train.anytime.codebook import Codebook
from edgevpr.train.anytime.exit_cost import exit_costs
from edgevpr.train.anytime.exit_scores import (
    Candidate,
    ExitScores,
    HeldOutImages,
    Method,
    Validation,
)
from edgevpr.train.anytime.fit_codebook import split_rows
from edgevpr.train.anytime.state_cache import store_states, unreadable_rows
from edgevpr.train.anytime.store import load_codebook, save_anytime
from edgevpr.train.config import TrainConfig
from edgevpr.train.images import Augment, Images, ShuffledBatches, loader
from edgevpr.train.losses.distillation import regression
from edgevpr.train.losses.objectives import BankObjective
from edgevpr.train.modules import Training
from edgevpr.train.networks.model import load_model
from edgevpr.train.networks.network import Network, best_device
from edgevpr.train.place_ids import with_places
from edgevpr.train.prepare import embedded_images, gallery_bank
from edgevpr.train.record import StepRecorder, TrainingStep
from edgevpr.train.trainer import Trainer, quiet_and_seeded


def fit_exits(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    tensorboard: Path | None = None,
    left_out: list[LeftOut] | None = None,
    on_step: Callable[[TrainingStep], None] | None = None,
    track: Track = silent,
) -> dict[str, Any]:
    """Train early exits and write the model with them; returns the training record.

    As ``edgevpr.train.fit.fit``, which calls this where ``config`` asks for exits: checkpoints,
    ``resume`` to the bit, of several processes the first one writes.

    Every candidate, an exit with a method, is scored at the end: by R@1 on the validation set
    where there is one, and by the mean cosine of its descriptors to the target, on the validation
    queries or else on held-out training images. An exit keeps the better of its candidates.

    Raises:
        DataError: an image cannot be read, or the features are of other images.
        ArtifactError: a codebook of another model.
        UsageError: exits that the network does not have or that are not in order, ``resume`` with
            other settings.
        SpaceMismatchError: features of another gallery network than the model's.
        NumericsError: the loss became NaN or infinite.
    """
    quiet_and_seeded(config.seed)
    options = config.early_exits
    assert options.anytime is not None
    network, about, opened = load_model(options.anytime)
    codebook, book_digest = None, ""
    if options.codebook is not None:
        codebook, _, book = load_codebook(options.codebook, model=opened)
        book_digest = book.digest
    preprocess = about.preprocess
    networks = anytime_networks(config, network, codebook, preprocess)
    table = _training_images(config, left_out)
    validation = _validation(config, about.role, opened, preprocess)
    every = config.target == "own" and not config.cities
    known = np.arange(len(table)) if every else np.flatnonzero(table.place >= 0)
    plain = Images(config.images, table.paths, preprocess)
    if left_out is not None:
        bad = unreadable_rows(plain, known, config.workers)
        left_out += unread(config.images, [table.paths[row] for row in bad])
        known = np.setdiff1d(known, bad)
    rows, held_out = (known, known[:0]) if validation else split_rows(known, config.seed)
    target = target_of(config, table, opened, track)
    module = ExitsTraining(networks, config, target)
    scores = ExitScores(
        validation or HeldOutImages(plain, held_out, target.features), config.workers
    )

    recorder = StepRecorder(config.seed, config.epochs, on_step)
    trainer = Trainer(config, recorder, out, resume=resume, tensorboard=tensorboard)
    augmented = config.crop < 1 or config.light > 0
    alone = config.devices * config.nodes == 1
    stored = None
    if alone and not augmented:
        module.to_device(best_device())
        stored = store_states(
            plain, rows, module.states, options.max_cache_mb, workers=config.workers, track=track
        )
    augment = Augment(config.crop, config.light) if augmented else None
    images = stored or Images(config.images, table.paths, preprocess, augment, config.seed)
    workers = 0 if stored is not None else config.workers
    batches = ShuffledBatches(rows, config.batch_size, config.seed)
    trainer.run(module, loader(images, batches, workers))

    candidates = scores.of(networks)
    chosen = best_of_each(candidates)
    final = _assembled(networks, chosen, network, codebook, preprocess)
    costs = exit_costs(final)
    training = (
        recorder.summary()
        | {
            "target": config.target,
            "exits": {
                name: {c.method: c.figures() for c in candidates if c.exit == name}
                | {"chosen": chosen[name].method, "share": round(costs[name].share, 4)}
                for name in final.exits
            },
            "full": scores.full,
            "held_out": len(held_out),
            "images": len(rows),
            "cached_mb": round(stored.megabytes, 1) if stored is not None else 0.0,
        }
        | ({"left_out": [str(each) for each in left_out]} if left_out else {})
        | {"parameters_m": round(sum(p.numel() for p in final.parameters()) / 1e6, 4)}
        | trainer.facts(module)
    )
    save_anytime(
        out,
        final,
        source=options.anytime,
        training=training,
        config=config.to_dict() | {"edgevpr": __version__},
        codebook_digest=book_digest,
        validation_r1={n: c.r1 for n, c in chosen.items() if c.r1 is not None},
        metrics_csv=recorder.to_csv(),
    )
    trainer.forget_checkpoints()
    return training


def anytime_networks(
    config: TrainConfig, network: Network, codebook: Codebook | None, preprocess: Preprocess
) -> dict[Method, AnytimeNetwork]:
    """By method, the network with all its exits; adapters begin the same whatever the method."""
    options = config.early_exits
    made: dict[Method, AnytimeNetwork] = {}
    for method in options.methods:
        torch.manual_seed(config.seed)
        specs = [ExitSpec(name, method, options.adapter) for name in options.names]
        book = codebook if method == "composition" else None
        made[method] = AnytimeNetwork(network, specs, book, (preprocess.height, preprocess.width))
    return made


@dataclass(frozen=True)
class ExitTarget:
    """What descriptors of exits are trained towards.

    ``loss``: (query (B, dim), target (B, dim), own (B,), rows (B,)) -> scalar. Without
    ``features``, (N, dim) of the training images, the target is the network's own full path.
    ``own``: (N,) bank rows.
    """

    loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    features: NDArray[np.float16] | None = None
    own: Tensor | None = None


class ExitsTraining(Training):
    """All adapters of anytime networks that share a frozen network, by the sum of their losses."""

    def __init__(
        self, networks: dict[Method, AnytimeNetwork], config: TrainConfig, target: ExitTarget
    ) -> None:
        super().__init__(config)
        self.adapters = nn.ModuleList(network.adapters for network in networks.values())
        #: no part of this module: frozen, and so neither trained nor written into checkpoints.
        self._networks = list(networks.values())
        self._loss = target.loss
        self._features = target.features
        self._own = target.own

    def to_device(self, device: torch.device) -> None:
        """Move the frozen parts, too."""
        for network in self._networks:
            network.to(device)
        if isinstance(self._loss, nn.Module):
            self._loss.to(device)

    def on_fit_start(self) -> None:
        self.to_device(self.device)

    @torch.no_grad()
    def states(self, images: Tensor) -> tuple[Tensor, ...]:
        """Pooled state of every exit; last the full descriptor, where that is the target."""
        anytime = self._networks[0]
        found, state = [], images
        for segment, adapter in zip(anytime.segments, anytime.adapters, strict=False):
            state = segment(state)
            regrid: Any = adapter.regrid
            found.append(regrid.pool(state))
        if self._features is None:
            found.append(anytime.tail(anytime.segments[-1](state)))
        return tuple(found)

    def training_step(self, batch: tuple[Any, Tensor], _: int) -> Tensor:
        given, rows = batch
        states = self.states(given) if isinstance(given, Tensor) else given
        full = states[-1] if self._features is None else None
        losses = [
            self.loss_of(anytime.tail(anytime.heads[name](state)), full, rows)
            for anytime in self._networks
            for name, state in zip(anytime.exits, states, strict=False)
        ]
        return self.report(torch.stack(losses).sum())

    def loss_of(self, query: Tensor, full: Tensor | None, rows: Tensor) -> Tensor:
        """Loss of (B, dim) descriptors of the images ``rows`` (B,).

        ``full``: their descriptors of the full path, where that is the target.
        """
        if self._features is None:
            assert full is not None
            return self._loss(query, full.float(), rows, rows)
        gallery = torch.from_numpy(self._features[rows.cpu().numpy()]).to(self.device).float()
        assert self._own is not None
        return self._loss(query, gallery, self._own[rows.cpu()].to(self.device), rows)

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Each adapter by its own norm: clipped together, a loud one would slow the others."""
        for network in self._networks:
            for adapter in network.adapters:
                nn.utils.clip_grad_norm_(adapter.parameters(), gradient_clip_val or float("inf"))


def best_of_each(candidates: list[Candidate]) -> dict[str, Candidate]:
    """By exit, the candidate with the best R@1, or with the best cosine where none has one."""
    best: dict[str, Candidate] = {}
    for each in candidates:
        if each.exit not in best or each.rank > best[each.exit].rank:
            best[each.exit] = each
    return best


def _assembled(
    networks: dict[Method, AnytimeNetwork],
    chosen: dict[str, Candidate],
    network: Network,
    codebook: Codebook | None,
    preprocess: Preprocess,
) -> AnytimeNetwork:
    """One network with the chosen candidate of each exit."""
    first = next(iter(networks.values()))
    specs = [replace(spec, method=chosen[spec.name].method) for spec in first.specs]
    book = codebook if any(spec.method == "composition" for spec in specs) else None
    final = AnytimeNetwork(network, specs, book, (preprocess.height, preprocess.width))
    for at, spec in enumerate(specs):
        final.adapters[at].load_state_dict(networks[spec.method].adapters[at].state_dict())
    return final.cpu().eval()


def _training_images(config: TrainConfig, left_out: list[LeftOut] | None) -> ImageTable:
    """Images with places where the loss contrasts places; else any."""
    if config.features is None and not config.cities:
        return ImageTable.build(list_images(config.images, left_out))
    table = with_places(read_images(config.images, left_out), config)
    if config.target == "own" or config.features is None:
        return table
    whole = table.paths
    table = embedded_images(table, config.features, config.images)
    if left_out is not None:
        left_out += unread(config.images, sorted({*whole} - {*table.paths}))
    return table


def target_of(config: TrainConfig, table: ImageTable, model: Artifact, track: Track) -> ExitTarget:
    if config.target == "own":
        return ExitTarget(lambda query, target, own, rows: regression(query, target))
    assert config.features is not None
    features = Features(config.features)
    check_same_space(
        features.space, str(config.features), model.space or "", str(config.early_exits.anytime)
    )
    bank, own, hidden = gallery_bank(features, table, config, track)
    loss = BankObjective(config.loss_name, config.loss_args, bank, config.tau, config.gamma, hidden)
    return ExitTarget(loss, features.descriptors, own)


def _validation(
    config: TrainConfig, role: str, model: Artifact, preprocess: Preprocess
) -> Validation | None:
    if config.validation is None:
        return None
    return Validation.read(
        config.validation, config.validation_features, role=role, model=model, preprocess=preprocess
    )
