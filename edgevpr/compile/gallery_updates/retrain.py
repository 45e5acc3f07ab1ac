"""New codebooks for a gallery whose images have changed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features, check_full_path
from edgevpr.artifacts.gallery_files import GalleryFiles
from edgevpr.artifacts.generations import Change, prune, writing
from edgevpr.artifacts.space import check_same_space
from edgevpr.compile.gallery_updates.change import change_now, project_features, publish
from edgevpr.compile.index.faiss_build import build_index
from edgevpr.errors import DataError
from edgevpr.progress import Track, silent


def retrain(
    gallery: Path, features: Sequence[Path], *, keep: int = 1, track: Track = silent
) -> Change:
    """Build the index anew from the images that are live, with the factory string it had.

    The projection stays, so that bundles with it fused stay valid; so do ids and the operating
    point and those of early exits, whose measured figures are of the index before.

    Args:
        features: artifacts that together describe every live image, told by its path.

    Raises:
        DataError: an image of the gallery is in none of them.
        SpaceMismatchError: descriptors of another space.
        UsageError: descriptors of an early exit.
    """
    with writing(gallery) as path:
        now = GalleryFiles(path)
        vectors = np.empty((int(now.live.sum()), now.record.index_dim), np.float32)
        row_of = {now.images.paths[row]: i for i, row in enumerate(np.flatnonzero(now.live))}
        missing = np.ones(len(vectors), np.bool_)
        for each in features:
            source = Features(each)
            check_same_space(source.space, str(each), now.artifact.space, str(path))
            check_full_path(source.record, each)
            found = [(i, row_of[p]) for i, p in enumerate(source.table.paths) if p in row_of]
            if not found:
                continue
            theirs, ours = np.array(found, np.int64).T
            vectors[ours] = project_features(now, source, track, rows=theirs)
            missing[ours] = False
        _all_there(missing, list(row_of), features)
        index = build_index(vectors, now.record.factory, track=track)
        change = change_now("retrain", len(vectors), ", ".join(map(str, features)))
        publish(now, index, change)
        prune(path, keep)
    return change


def _all_there(missing: NDArray[np.bool_], paths: list[str], features: Sequence[Path]) -> None:
    if missing.any():
        raise DataError(
            f"found {missing.sum()} of the gallery's {len(missing)} images missing in "
            f"{', '.join(map(str, features))} ({paths[int(np.argmax(missing))]} for one), expected "
            "all: run edgevpr gallery compact GALLERY --retrain FEATURES with one --retrain for "
            "each features artifact that the gallery was made from"
        )
