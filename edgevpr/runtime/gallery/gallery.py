"""The map a robot searches: a gallery artifact, opened."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts import gallery_files
from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.generations import generation_of, identity
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord, GalleryRecord
from edgevpr.artifacts.space import check_same_space
from edgevpr.errors import (
    ArtifactError,
    ArtifactVersionError,
    CorruptArtifactError,
    NumericsError,
    UsageError,
)
from edgevpr.places.near import Near, Positions
from edgevpr.places.table import ImageTable
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.retrieval.faiss_layers import innermost
from edgevpr.retrieval.projection import Projection
from edgevpr.runtime.gallery.parts import Shards
from edgevpr.runtime.gallery.selection import Selection

#: How often a gallery is opened again because it was replaced while it was being opened.
_TRIES = 5


class Gallery:
    """``record``, ``images`` and a search with the chosen parameters.

    Row i of ``images`` is row i of every answer: first the images of the index (FAISS id i), then
    those that ``edgevpr gallery add`` put beside it. ``ids`` has the id that each keeps through
    all changes. What was opened stays as it is: ``replaced`` tells of a newer generation.

    Args:
        path: folder of the artifact.
        parameters: FAISS parameter string to search with, for example ``nprobe=8,k_factor_rf=4``;
            the operating point that ``edgevpr index`` chose when left out.
        verify: hash every file before reading it.

    Raises:
        DataError, ArtifactError: no artifact, not a gallery, truncated or changed.
        ArtifactVersionError: the index needs a newer FAISS than the one installed.
        UsageError: FAISS does not know ``parameters``.
    """

    def __init__(self, path: Path, *, parameters: str | None = None, verify: bool = True) -> None:
        path = Path(path)
        for _ in range(_TRIES):
            self._identity = identity(path)
            try:
                self._open(path, parameters, verify)
            except (ArtifactError, OSError):
                if identity(path) == self._identity:
                    raise
            if identity(path) == self._identity:
                return
        raise ArtifactError(
            f"{path} was replaced {_TRIES} times while it was being opened, expected it to stay "
            "for a moment: run this again when nothing changes it any more"
        )

    def _open(self, path: Path, parameters: str | None, verify: bool) -> None:
        self.artifact = open_artifact(path, "gallery", verify=verify)
        self.record = self.artifact.read("gallery.json", GalleryRecord)
        self.images = ImageTable.load(self.artifact.file("images.csv"))
        self.parameters = self.record.chosen.parameters if parameters is None else parameters
        self.projection: Projection | None = None
        if self.record.projection:
            self.projection = Projection.load(self.artifact.file("projection.npy"))
        self._index = _read_index(self.artifact, self.record)
        self._check_sizes()
        self._set_parameters(self._index)
        self._open_changes()

    def _open_changes(self) -> None:
        self.generation = generation_of(self.artifact, self.record.count)
        self.images = gallery_files.all_images(self.artifact, self.images, self.generation)
        self.ids = gallery_files.stable_ids(self.artifact, len(self.images))
        self.live = gallery_files.live_rows(self.artifact, self.generation, len(self.images))
        added = None
        if self.generation.added:
            added = _read_index(self.artifact, self.record, gallery_files.ADDED_INDEX)
            if added.ntotal != self.generation.added or added.d != self.record.index_dim:
                file = self.artifact.path / gallery_files.ADDED_INDEX
                raise CorruptArtifactError(
                    f"{file} holds {added.ntotal} vectors of {added.d} numbers, its record "
                    f"says {self.generation.added} of {self.record.index_dim}: go back with "
                    "edgevpr gallery rollback"
                )
            if type(innermost(added)) is type(innermost(self._index)):
                self._set_parameters(added)
        self._shards = Shards(self._index, added, self.live)
        self._changed = added is not None or not self.live.all()
        self._positions: Positions | None = None
        self._near: tuple[Near, list[Selection]] | None = None

    @property
    def replaced(self) -> bool:
        """Whether another gallery, or another generation of this one, is at its path by now."""
        return identity(self.artifact.path) != self._identity

    def near(self, point: Near) -> NDArray[np.bool_]:
        """(N,) which rows of ``images`` were taken near a point and are still in the map.

        Raises:
            DataError: none.
        """
        if self._positions is None:
            self._positions = Positions(self.images, self.live)
        return self._positions.near(point)

    def check_bundle(self, bundle: Artifact, record: BundleRecord) -> None:
        """Raise unless the bundle's descriptors may be searched in this gallery.

        Raises:
            SpaceMismatchError: they are of another descriptor space.
            ArtifactError: the projection of another gallery is fused into the graph.
        """
        here = self.artifact.path
        check_same_space(bundle.space, str(bundle.path), self.artifact.space, str(here))
        if record.projection and record.projection != self.record.projection:
            of_this = self.record.projection[:12] or "no projection"
            raise ArtifactError(
                f"{bundle.path} has projection {record.projection[:12]} fused into its graph, but "
                f"{here} was built with {of_this}: run edgevpr compile again with --gallery {here}"
            )
        if record.dim != self.record.dim:
            raise ArtifactError(
                f"{bundle.path} is for descriptors of {record.dim} numbers, but {here} is for "
                f"{self.record.dim}: use a bundle and a gallery made from the same networks"
            )

    def search(
        self,
        descriptors: NDArray[np.float32],
        k: int = SEARCH_DEPTH,
        within: Near | NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k most similar gallery images of each descriptor, best first.

        Args:
            descriptors: (B, d) in the index's space, or (B, D) in the full one, which are
                projected first; L2-normalized.
            within: only images near a point, or those of a (N,) mask over ``images``. The last
                point is remembered, so that one that does not move costs nothing.

        Returns:
            (B, k) cosine similarities and (B, k) rows of ``images``, -1 where fewer were found.

        Raises:
            NumericsError: a descriptor holds NaN or infinity.
            ArtifactError: the width is neither d nor D.
            DataError: no image is near the point.
        """
        import faiss

        if not np.isfinite(descriptors).all():
            raise NumericsError(
                "the engine gave a descriptor with NaN or infinity, expected finite numbers: "
                "compile the bundle again in FP32, and look at the network if that fails too"
            )
        width = descriptors.shape[1]
        if width == self.record.dim and self.projection is not None:
            descriptors = self.projection.apply(descriptors)
        elif width != self.record.index_dim:
            raise ArtifactError(
                f"found descriptors of {width} numbers, but {self.artifact.path} takes "
                f"{self.record.index_dim} or {self.record.dim}: use a bundle compiled with "
                f"--gallery {self.artifact.path}"
            )
        # One thread: a team of them costs more than a single search. The setting belongs to the
        # calling thread in OpenMP, so it is made here and not where the gallery was opened.
        faiss.omp_set_num_threads(1)
        if within is not None:
            return self._shards.search(descriptors, min(k, len(self.images)), self._among(within))
        if self._changed:
            return self._shards.search(descriptors, min(k, len(self.images)))
        scores, rows = self._index.search(descriptors, min(k, self.record.count))
        return scores, rows

    def _among(self, within: Near | NDArray[np.bool_]) -> list[Selection]:
        if not isinstance(within, Near):
            return self._shards.only(within)
        if self._near is None or self._near[0] != within:
            self._near = within, self._shards.only(self.near(within))
        return self._near[1]

    def _check_sizes(self) -> None:
        index, record = self._index, self.record
        found = (int(index.ntotal), int(index.d), len(self.images))
        expected = (record.count, record.index_dim, record.count)
        if found != expected:
            raise CorruptArtifactError(
                f"{self.artifact.path} holds {found[0]} vectors of {found[1]} numbers and "
                f"{found[2]} images, its record says {expected[0]}, {expected[1]} and "
                f"{expected[2]}: write it again with edgevpr index"
            )

    def _set_parameters(self, index: Any) -> None:
        import faiss

        space: Any = faiss.ParameterSpace()
        try:
            space.set_index_parameters(index, self.parameters)
        except RuntimeError as error:
            raise UsageError(
                f"FAISS does not accept the search parameters {self.parameters!r} for "
                f"{self.record.factory}; expected a string such as "
                f"{self.record.chosen.parameters!r}: correct --parameters or leave it out"
            ) from error


def _read_index(gallery: Artifact, record: GalleryRecord, name: str = "index.faiss") -> Any:
    import faiss

    path = gallery.file(name)
    try:
        # Refine store and plain lists stay pages of the file: two processes share them, and only
        # what searches look at is resident. Fast-scan codes FAISS copies, without that flag all.
        return faiss.read_index(str(path), getattr(faiss, "IO_FLAG_MMAP_IFC", 0))
    except RuntimeError as error:
        if _version(record.faiss_version) > _version(faiss.__version__):
            raise ArtifactVersionError(
                f"{path} was written by FAISS {record.faiss_version} and FAISS "
                f"{faiss.__version__} cannot read it: run pip install "
                f"'faiss-cpu>={record.faiss_version}', or edgevpr index again on this machine"
            ) from error
        raise CorruptArtifactError(
            f"FAISS {faiss.__version__} cannot read {path}, written by FAISS "
            f"{record.faiss_version}: write the gallery again with edgevpr index"
        ) from error


def _version(text: str) -> tuple[int, ...]:
    """``1.15.1`` -> (1, 15, 1); what follows the numbers is left out."""
    parts = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)
