"""Tuning images: held-out images with places, and the recall of their descriptors in a gallery.

Evaluation queries are refused: a network tuned on the images it is scored on scores too well.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgevpr.compile.precision.calibration import refuse_queries, spread_over_places
from edgevpr.data.read import read_images
from edgevpr.errors import DataError
from edgevpr.places.positives import positives
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess, read_image
from edgevpr.printable import counted
from edgevpr.progress import Track, silent
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.retrieval.own_rows import own_rows, positives_without_own, without_own

#: Most images described for every candidate, and the fewest that recall is measured on.
MOST, FEWEST = 400, 20


class GallerySearcher(Protocol):
    """A gallery's images and its search, as in ``edgevpr.runtime.gallery.gallery.Gallery``."""

    images: ImageTable

    def search(
        self, descriptors: NDArray[np.float32], k: int = ...
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Similarities and rows of ``images``, best first, -1 where fewer were found."""
        ...


@dataclass(frozen=True)
class TuningImages:
    """n images, and for each the gallery rows that answer it."""

    #: (n, H, W, 3) uint8 RGB.
    images: NDArray[np.uint8]
    #: gallery rows that show the place, the image itself left out.
    positives: Sequence[NDArray[np.int64]]
    #: (n,) the image's own gallery row, left out of its search; -1: it is not in the gallery.
    own: NDArray[np.int64]
    #: their origin in words.
    source: str

    def answers_digest(self) -> str:
        """SHA-256 of which gallery rows answer each image, and which is its own."""
        digest = hashlib.sha256(self.own.tobytes())
        for rows in self.positives:
            digest.update(np.array([len(rows), *rows], np.int64).tobytes())
        return digest.hexdigest()

    def right(
        self, gallery: GallerySearcher, descriptors: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """(n,) whether the gallery's own index answers each of (n, d) descriptors rightly first."""
        inside = bool((self.own >= 0).any())
        _, found = gallery.search(descriptors, SEARCH_DEPTH + inside)
        rows = without_own(found, self.own if inside else None)
        return np.array(
            [row in good for row, good in zip(rows[:, 0], self.positives, strict=True)], np.bool_
        )


def read_tuning(
    folder: Path,
    gallery: ImageTable,
    preprocess: Preprocess,
    *,
    without: Sequence[str] = (),
    radius_m: float = 25.0,
    seed: int = 0,
    track: Track = silent,
) -> TuningImages:
    """Choose and read tuning images: those of a folder that the gallery answers, over its places.

    Args:
        folder: images with places, of the gallery's area; its own images are each left out of
            their own search.
        without: paths (in ``folder``) of images that calibration has seen; they are used only if
            too few others are left.

    Raises:
        DataError: evaluation queries, or fewer than 20 images that some gallery image answers.
    """
    refuse_queries(folder)
    table = read_images(folder)
    own = own_rows(table, gallery)
    found = positives_without_own(positives(table, gallery, radius_m), own)
    answered = np.array([len(good) > 0 for good in found])
    seen = np.isin(table.paths, list(without))
    rows = np.flatnonzero(answered & ~seen)
    again = len(rows) < 100
    if again:
        rows = np.flatnonzero(answered)
    if len(rows) < FEWEST:
        raise DataError(
            f"found {counted(len(rows), 'image')} in {folder} that the gallery answers, expected "
            f"at least {FEWEST} to measure recall with: pass `tuning` with a folder of images with "
            "places from the gallery's area, other than its evaluation queries"
        )
    rows = np.sort(rows[spread_over_places(table.take(rows), MOST, seed=seed)])
    paths = [folder / table.paths[row] for row in rows]
    images = np.stack(
        [preprocess.resize(read_image(path)) for path in track(paths, "reading tuning images")]
    )
    inside = int((own[rows] >= 0).sum())
    source = f"{counted(len(rows), 'image')} of {folder.name}, spread over places, seed {seed}"
    source += f"; {inside} are in the gallery, each left out of its own search" if inside else ""
    source += "; some calibrated the ranges, too" if again and seen.any() else ""
    return TuningImages(images, [found[row] for row in rows], own[rows], source)
