"""The linear map from the full descriptor space (D) to the index's own (d).

Learned by ``edgevpr index`` on gallery descriptors, fused into the query graph by
``edgevpr compile --gallery``; a graph without it leaves the product to the runtime.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.arrays import read_array
from edgevpr.artifacts.gallery_files import PROJECTION
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import GalleryRecord
from edgevpr.errors import CorruptArtifactError


@dataclass(frozen=True)
class Projection:
    """``normalize(matrix @ (x - mean))`` with ``matrix`` (d, D) and ``mean`` (D,), float32."""

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or self.mean.shape != (self.matrix.shape[1],):
            raise ValueError(
                f"projection matrix {self.matrix.shape} does not fit mean {self.mean.shape}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(d, D)."""
        return self.matrix.shape[0], self.matrix.shape[1]

    def apply(self, descriptors: NDArray[np.floating]) -> NDArray[np.float32]:
        """(N, D) descriptors -> (N, d), L2-normalized."""
        centred = np.asarray(descriptors, np.float32) - self.mean
        return l2_normalize(centred @ self.matrix.T)

    def save(self, path: Path) -> None:
        """Write as one ``.npy``: a (d + 1, D) float32 array, the mean first."""
        np.save(path, np.vstack([self.mean[None], self.matrix]))

    @classmethod
    def of_gallery(cls, opened: Artifact, record: GalleryRecord) -> "Projection | None":
        """The projection of an opened gallery; None where its index works in the full space.

        Raises:
            CorruptArtifactError: it is of other widths than the record says, or not finite.
        """
        if not record.projection:
            return None
        shape = (record.index_dim + 1, record.dim)
        stacked = read_array(opened, PROJECTION, np.float32, shape)
        if not np.isfinite(stacked).all():
            raise _unreadable(opened.path / PROJECTION, "NaN or infinity")
        return cls(mean=stacked[0].copy(), matrix=stacked[1:].copy())

    @classmethod
    def load(cls, path: Path) -> "Projection":
        """Read what ``save`` wrote.

        Raises:
            CorruptArtifactError: not a ``.npy`` of floats with a mean and at least one direction.
        """
        try:
            stacked = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _unreadable(path, str(error)) from error
        if not isinstance(stacked, np.ndarray):
            raise _unreadable(path, "an archive of arrays")
        if stacked.ndim != 2 or len(stacked) < 2 or stacked.dtype.kind != "f":
            raise _unreadable(path, f"{stacked.dtype} of shape {stacked.shape}")
        stacked = np.ascontiguousarray(stacked, dtype=np.float32)
        return cls(mean=stacked[0].copy(), matrix=stacked[1:].copy())


def _unreadable(path: Path, found: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"found no projection in {path} ({found}), expected a (d + 1, D) float32 array: copy the "
        "folder again or write it anew with edgevpr index"
    )


def l2_normalize(x: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows of ``x`` scaled to unit length; a zero row stays zero."""
    x = np.asarray(x, np.float32)
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.asarray(x / np.maximum(norm, 1e-12), np.float32)
