"""Scores of early exits: R@1 on a validation set, and cosines to what they were trained towards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.features import Features
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.space import check_same_space
from edgevpr.data import read_split
from edgevpr.errors import UsageError
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.train.anytime.anytime_network import AnytimeNetwork
from edgevpr.train.anytime.state_cache import InRows
from edgevpr.train.embed.embed import describe_images
from edgevpr.train.embed.staging import check_descriptors
from edgevpr.train.evaluate.evaluate import recall_of
from edgevpr.train.images import Images, loader
from edgevpr.train.networks.network import best_device

#: What becomes of an adapter's tokens.
Method = Literal["composition", "regression"]


@dataclass(frozen=True)
class Candidate:
    """One exit, trained with one method: its figures on images that it was not trained on."""

    exit: str
    method: Method
    #: mean, to the network's own full path or to the gallery network's descriptor.
    cosine: float
    #: percent; None without a validation set.
    r1: float | None = None

    @property
    def rank(self) -> tuple[float, float]:
        """The greater, the better: R@1 first."""
        return (-1.0 if self.r1 is None else self.r1, self.cosine)

    def figures(self) -> dict[str, float | None]:
        return {"validation_r1": self.r1, "cosine": self.cosine}


@dataclass(frozen=True)
class Validation:
    """Queries, and the database's descriptors by the gallery network; None: by this network."""

    root: Path
    queries: ImageTable
    database: ImageTable
    preprocess: Preprocess
    stored: Features | None

    @classmethod
    def read(
        cls, root: Path, features: Path | None, *, role: str, model: Artifact,
        preprocess: Preprocess,
    ) -> "Validation":  # fmt: skip
        """Read the data set and check whose features these are.

        Raises:
            UsageError: a query network without features of the gallery network.
            SpaceMismatchError: features of another gallery network.
        """
        if features is None and role == "query":
            raise UsageError(
                "found `validation` of a query network's exits without `validation_features`, "
                "expected its database's descriptors by the gallery network, too: pass "
                "`validation_features`"
            )
        stored = None
        if features is not None:
            stored = Features(features)
            check_same_space(stored.space, str(features), model.space or "", str(model.path))
        database, queries = read_split(root)
        return cls(root, queries, database, preprocess, stored)


@dataclass(frozen=True)
class HeldOutImages:
    """Training images that are not trained on; ``features``: (N, dim) targets, None: own."""

    images: Images
    rows: NDArray[np.int64]
    features: NDArray[np.float16] | None


@dataclass
class ExitScores:
    """Scores every exit of every method in one pass through the backbone."""

    on: Validation | HeldOutImages
    workers: int
    #: the whole path's own figures, once scored: what the exits are measured against.
    full: dict[str, float | None] = field(default_factory=dict)

    def of(self, networks: Mapping[Method, AnytimeNetwork]) -> list[Candidate]:
        """Candidates by exit, earliest first.

        Raises:
            DataError: an image cannot be read; names it.
            NumericsError: an exit gave NaN or infinity.
        """
        network = _EveryExit(networks).to(best_device())
        return self._validated(network) if isinstance(self.on, Validation) else self._held(network)

    def _validated(self, network: Any) -> list[Candidate]:
        on = self.on
        assert isinstance(on, Validation)

        def described(table: ImageTable) -> NDArray[np.float16]:
            found = describe_images(network, on.preprocess, on.root, table, workers=self.workers)
            return found.reshape(len(table), -1, network.width)

        queries = described(on.queries)
        if on.stored is not None:
            table, gallery = on.stored.table, on.stored.descriptors
        else:
            network.only_full = True
            table, gallery = on.database, described(on.database)[:, 0]
            network.only_full = False
        whole = queries[:, -1].astype(np.float32)
        r1s = [recall_of(on.queries, each, table, gallery).at[1] for each in queries.swapaxes(0, 1)]
        self.full = {"validation_r1": r1s[-1]}
        return [
            Candidate(exit, method, _mean_cosine(queries[:, at], whole), r1s[at])
            for at, (exit, method) in enumerate(network.names)
        ]

    def _held(self, network: "_EveryExit") -> list[Candidate]:
        on = self.on
        assert isinstance(on, HeldOutImages)
        found, rows = [], []
        with torch.inference_mode():
            for pixels, some in loader(on.images, InRows(on.rows), self.workers):
                found.append(network(pixels.to(best_device())).float().cpu().numpy())
                rows.append(some.numpy())
        described = np.concatenate(found).reshape(-1, len(network.names) + 1, network.width)
        check_descriptors(np.concatenate(found), np.concatenate(rows), on.images.paths)
        whole = described[:, -1]
        target = whole if on.features is None else on.features[np.concatenate(rows)]
        self.full = {"cosine": _mean_cosine(whole, target)}
        return [
            Candidate(exit, method, _mean_cosine(described[:, at], target))
            for at, (exit, method) in enumerate(network.names)
        ]


class _EveryExit(nn.Module):
    """(B, 3, H, W) -> (B, (K + 1) dim): descriptors of every candidate, and of the full path."""

    def __init__(self, networks: Mapping[Method, AnytimeNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({str(name): network for name, network in networks.items()})
        first = next(iter(networks.values()))
        self.names = [(exit, method) for exit in first.exits for method in networks]
        self.width = first.dim
        self.only_full = False

    @property
    def dim(self) -> int:
        return self.width * (1 if self.only_full else len(self.names) + 1)

    def forward(self, images: Tensor) -> Tensor:
        first: Any = next(iter(self.networks.values()))
        if self.only_full:
            whole: Tensor = first(images)
            return whole
        found, state = [], images
        for exit, segment in zip((*first.exits, FULL), first.segments, strict=True):
            state = segment(state)
            if exit == FULL:
                found.append(first.tail(state))
                break
            networks: Any = self.networks.values()
            found += [first.tail(network.heads[exit](state)) for network in networks]
        return torch.cat(found, 1)


def _mean_cosine(found: NDArray[Any], target: NDArray[Any]) -> float:
    """Mean over the rows of two arrays (N, D)."""
    a, b = found.astype(np.float32), target.astype(np.float32)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return round(float(((a * b).sum(1) / norms).mean()), 4)
