"""Gallery descriptors in the index's own space: projected, narrowed, memory-mapped."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.compile.index.faiss_build import blocks
from edgevpr.compile.index.fit_projection import fit_projection
from edgevpr.compile.index.project_on_cluster import project_on_cluster
from edgevpr.compile.index.resume import ResumeFolder
from edgevpr.errors import NumericsError
from edgevpr.files import release
from edgevpr.progress import Track
from edgevpr.retrieval.projection import Projection, l2_normalize

#: Bytes of float32 descriptors that are projected at a time.
_PROJECT_BYTES = 1 << 26


def projection_to(
    gallery: Features, width: int, seed: int, resume: ResumeFolder
) -> Projection | None:
    """The gallery's projection to ``width``; None where its descriptors are that narrow already."""
    if width == gallery.record.dim:
        return None

    def make(path: Path) -> None:
        fitted = fit_projection(gallery.descriptors, width, seed=seed)
        assert fitted is not None
        with path.open("wb") as file:
            np.save(file, np.vstack([fitted.mean[None], fitted.matrix]))

    return Projection.load(resume.file("projection.npy", make))


def project_gallery(
    gallery: Features,
    projection: Projection | None,
    path: Path,
    cluster: str | None,
    track: Track,
) -> None:
    """Write (N, d) float32 unit vectors: all descriptors in the index's own space."""
    count, dim = gallery.descriptors.shape
    width = dim if projection is None else projection.shape[0]
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, (count, width))
    step = max(_PROJECT_BYTES // (4 * dim), 1)
    if cluster is not None and projection is not None:
        project_on_cluster(gallery, projection, vectors, address=cluster, step=step, track=track)
        for start in range(0, count, step):
            check_finite(vectors[start : start + step], gallery, np.arange(start, count))
        vectors.flush()
        return
    starts = range(0, count, step)
    for start in track(starts, "projecting descriptors", len(starts)):
        block = np.asarray(gallery.descriptors[start : start + step], np.float32)
        check_finite(block, gallery, np.arange(start, start + len(block)))
        vectors[start : start + step] = block if projection is None else projection.apply(block)
        vectors.flush()
        release(gallery.descriptors)
        release(vectors)


def narrow(vectors: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The first ``width`` of all (N, d) coordinates, at unit length again: the projection's leading
    directions are the best projection to fewer."""
    return vectors if vectors.shape[1] == width else l2_normalize(vectors[:, :width])


def narrowed(vectors: NDArray[np.float32], width: int, resume: ResumeFolder) -> NDArray[np.float32]:
    """``narrow`` of all gallery vectors, as a memory map in the folder of finished steps."""
    if vectors.shape[1] == width:
        return vectors

    def make(path: Path) -> None:
        out = np.lib.format.open_memmap(path, "w+", np.float32, (len(vectors), width))
        start = 0
        for block in blocks(vectors):
            out[start : start + len(block)] = narrow(block, width)
            start += len(block)
        out.flush()

    path = resume.file(f"vectors-{width}.npy", make)
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def check_finite(
    descriptors: NDArray[np.float32], source: Features, rows: NDArray[np.int64]
) -> None:
    """Raise NumericsError, naming the image, when a descriptor holds NaN or infinity.

    Args:
        rows: of ``source``, one for each descriptor or more.
    """
    bad = ~np.isfinite(descriptors).all(axis=1)
    if bad.any():
        row = int(rows[np.argmax(bad)])
        raise NumericsError(
            f"found NaN or infinity in the descriptor of {source.table.paths[row]} (row {row} of "
            f"{source.artifact.path}), expected finite numbers: run edgevpr embed again in FP32"
        )
