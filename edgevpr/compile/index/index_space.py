"""Gallery and held-out queries in the index's own space (d)."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.compile.index.held_out import HeldOut, choose_queries
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.compile.index.resume import ResumeFolder
from edgevpr.compile.index.vectors import narrow, narrowed, project_gallery, projection_to
from edgevpr.progress import Track
from edgevpr.retrieval.projection import Projection


@dataclass(frozen=True)
class IndexSpace:
    """The gallery and the held-out queries, projected."""

    held: HeldOut
    #: ``GalleryRecord.tuned_on``.
    tuned_on: str
    #: (D -> d); None where d is D.
    projection: Projection | None
    #: (N, d) float32 memory map.
    vectors: NDArray[np.float32]
    #: (Q, d) float32.
    queries: NDArray[np.float32]

    def narrowed_to(self, width: int, resume: ResumeFolder) -> "IndexSpace":
        """The space of its first ``width`` directions."""
        if width == self.vectors.shape[1]:
            return self
        assert self.projection is not None
        return dataclasses.replace(
            self,
            projection=Projection(self.projection.mean, self.projection.matrix[:width]),
            vectors=narrowed(self.vectors, width, resume),
            queries=narrow(self.queries, width),
        )

    def project(self, descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
        """(Q, D) descriptors -> (Q, d)."""
        return descriptors if self.projection is None else self.projection.apply(descriptors)


def make_index_space(
    gallery: Features,
    queries: Features | None,
    width: int,
    options: IndexOptions,
    resume: ResumeFolder,
    cluster: str | None,
    track: Track,
) -> IndexSpace:
    """Search the held-out queries exactly, fit the projection, project the gallery to ``width``."""
    held, tuned_on = choose_queries(gallery, queries, resume, options.radius_m, options.seed, track)
    projection = projection_to(gallery, width, options.seed, resume)
    path = resume.file(
        "vectors.npy", lambda path: project_gallery(gallery, projection, path, cluster, track)
    )
    projected = held.descriptors if projection is None else projection.apply(held.descriptors)
    return IndexSpace(held, tuned_on, projection, np.load(path, mmap_mode="r"), projected)
