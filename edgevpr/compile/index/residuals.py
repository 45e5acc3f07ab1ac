"""Displacements of held-out queries from their gallery images, kept with the gallery."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.arrays import read_array
from edgevpr.artifacts.manifest import Artifact

RESIDUALS = "residuals.npy"


#: Displacements kept in a gallery: 128 kB at 256-d.
RESIDUALS_KEPT = 256


def save_residuals(path: Path, queries: NDArray[np.float32], answers: NDArray[np.float32]) -> None:
    """Save (Q, d) held-out queries less the (Q, d) gallery images that answer them, float16."""
    np.save(path, (queries - answers)[:RESIDUALS_KEPT].astype(np.float16))


def load_residuals(gallery: Artifact, width: int) -> NDArray[np.float32]:
    """(n, width) displacements; one of zeros in a gallery without any."""
    if RESIDUALS in gallery.manifest.files:
        residuals = read_array(gallery, RESIDUALS, np.float16, (None, width))
        return np.asarray(residuals, np.float32)
    return np.zeros((1, width), np.float32)
