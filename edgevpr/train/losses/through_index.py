"""Loss term that trains a query network against the quantized gallery of an index.

A product quantizer moves every gallery descriptor to the nearest of its codes, and a query is
compared with those codes (asymmetric distance; Jégou et al., 2011). The term is the cross-entropy
of finding an image's own quantized descriptor among those of the batch, in the index's projected
space: ``-log softmax(normalize(P q) . code / tau)[own]``, images of the same place left out. It is
added to whatever else a query network is trained with.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.records import GalleryRecord
from edgevpr.artifacts.space import check_same_space
from edgevpr.errors import UsageError
from edgevpr.retrieval.projection import Projection, l2_normalize

_BLOCK = 8192


class ThroughIndex(nn.Module):
    """``objective`` plus the term of this module.

    Args:
        codes: (N, d) gallery descriptors of the training images as the index stores them.
        projection: (d, D), of the gallery; None: the index works in the full space.
        tau: temperature of the softmax.
    """

    def __init__(
        self,
        objective: nn.Module,
        codes: NDArray[np.float16],
        projection: Projection | None,
        tau: float,
    ) -> None:
        super().__init__()
        self.objective, self.tau, self.codes = objective, tau, codes
        matrix = None if projection is None else torch.from_numpy(projection.matrix)
        mean = None if projection is None else torch.from_numpy(projection.mean)
        self.register_buffer("matrix", matrix, persistent=False)
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, query: Tensor, gallery: Tensor, own: Tensor, rows: Tensor) -> Tensor:
        loss: Tensor = self.objective(query, gallery, own, rows)
        return loss + self.term(query, own, rows)

    def term(self, query: Tensor, own: Tensor, rows: Tensor) -> Tensor:
        """(B, D) query descriptors, (B,) their places and training rows -> the term alone."""
        with torch.autocast(query.device.type, enabled=False):
            projected = query if query.dtype == torch.float64 else query.float()
            codes = torch.from_numpy(self.codes[rows.cpu().numpy()]).to(projected)
            if self._buffers["matrix"] is not None:
                matrix = self.get_buffer("matrix").to(projected)
                projected = (projected - self.get_buffer("mean").to(projected)) @ matrix.T
            scores = nn.functional.normalize(projected, dim=1) @ codes.T / self.tau
            same = own[:, None] == own[None, :]
            same.fill_diagonal_(False)
            scores = scores.masked_fill(same, float("-inf"))
            return nn.functional.cross_entropy(scores, torch.arange(len(rows), device=query.device))


def through_index(
    objective: nn.Module, gallery: Path, features: Features, tau: float
) -> ThroughIndex:
    """``objective`` with the term for the gallery artifact at ``gallery``.

    Raises:
        SpaceMismatchError: the gallery is of another descriptor space than ``features``.
        UsageError: its index has no product quantizer.
    """
    opened = open_artifact(gallery, "gallery")
    check_same_space(opened.space, str(gallery), features.space, str(features.artifact.path))
    record = opened.read("gallery.json", GalleryRecord)
    projection = Projection.of_gallery(opened, record)
    codes = np.empty((features.record.count, record.index_dim), np.float16)
    quantize = _quantizer(opened.held("index.faiss"), record.factory, gallery)
    for start in range(0, len(codes), _BLOCK):
        block = np.asarray(features.descriptors[start : start + _BLOCK], np.float32)
        vectors = l2_normalize(block) if projection is None else projection.apply(block)
        codes[start : start + _BLOCK] = quantize(vectors)
    return ThroughIndex(objective, codes, projection, tau)


def _quantizer(path: Path, factory: str, gallery: Path | None = None) -> Any:
    """A function from (n, d) vectors to their quantized form in the index at ``path``."""
    import faiss

    whole: Any = faiss.read_index(str(path))
    index: Any = whole
    if isinstance(index, faiss.IndexRefine):
        index = faiss.downcast_index(index.base_index)
    rotation: Any = None
    if isinstance(index, faiss.IndexPreTransform):
        chain: Any = index.chain
        rotation = faiss.downcast_VectorTransform(chain.at(0))
        index = faiss.downcast_index(index.index)
    codebook = getattr(index, "pq", None)
    if codebook is None:
        raise UsageError(
            f"found {factory} in `through_index` {gallery or path}, expected an index with a "
            "product quantizer: build one with edgevpr index FEATURES --kind ivfpq"
        )
    coarse: Any = None
    if getattr(index, "by_residual", False):
        coarse = faiss.downcast_index(index.quantizer)

    def quantize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        # the index is kept alive by ``whole``: its parts are views of it
        assert whole.ntotal >= 0
        turned = vectors if rotation is None else rotation.apply(vectors)
        base = np.zeros_like(turned)
        if coarse is not None:
            base = coarse.reconstruct_batch(coarse.search(turned, 1)[1][:, 0])
        stored = base + codebook.decode(codebook.compute_codes(turned - base))
        back = stored if rotation is None else rotation.reverse_transform(stored)
        return np.asarray(back, np.float32)

    return quantize
