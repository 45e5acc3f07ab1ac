"""What a gallery was changed by since its index was written: images added, images taken out."""

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.generations import Generation
from edgevpr.artifacts.manifest import Artifact
from edgevpr.errors import CorruptArtifactError
from edgevpr.places.table import ImageTable, concat

ADDED_INDEX, ADDED_VECTORS, ADDED_TABLE = "added.faiss", "added.npy", "added.csv"
REMOVED, IDS = "removed.npy", "ids.npy"
#: All that a change may write anew.
FILES = (ADDED_INDEX, ADDED_VECTORS, ADDED_TABLE, REMOVED, IDS)


def all_images(opened: Artifact, images: ImageTable, generation: Generation) -> ImageTable:
    """The images of the index, then those added, removed ones included: row i is row i."""
    if not generation.added:
        return images
    return concat([images, ImageTable.load(opened.file(ADDED_TABLE))])


def live_rows(opened: Artifact, generation: Generation, total: int) -> NDArray[np.bool_]:
    """(total,) which rows have not been taken out.

    Raises:
        CorruptArtifactError: it names rows that there are not, or another number of them.
    """
    live = np.ones(total, np.bool_)
    if generation.removed:
        rows = np.load(opened.file(REMOVED), allow_pickle=False)
        valid = rows.dtype == np.int64 and rows.ndim == 1 and len(rows) and rows.min() >= 0
        if valid and rows.max() < total:
            live[rows] = False
        if total - live.sum() != generation.removed:
            raise CorruptArtifactError(
                f"{opened.path / REMOVED} does not name {generation.removed} of the gallery's "
                f"{total} rows, which its record speaks of: copy the gallery again, or go back "
                "with edgevpr gallery rollback"
            )
    return live


def stable_ids(opened: Artifact, total: int) -> NDArray[np.int64]:
    """(total,) the id that each row keeps for as long as its image is in the gallery."""
    if IDS not in opened.manifest.files:
        return np.arange(total)
    ids = np.load(opened.file(IDS), allow_pickle=False)
    if ids.shape != (total,) or ids.dtype != np.int64:
        raise CorruptArtifactError(
            f"{opened.path / IDS} holds {ids.dtype} of shape {ids.shape}, expected {total} int64: "
            "copy the gallery again, or go back with edgevpr gallery rollback"
        )
    return np.asarray(ids)
