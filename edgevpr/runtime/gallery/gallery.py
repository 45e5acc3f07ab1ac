"""Search over a gallery artifact, as a running robot opens it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.folder import identity, settled
from edgevpr.artifacts.gallery_files import ADDED_INDEX, INDEX, GalleryFiles
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord, GalleryExit
from edgevpr.artifacts.space import check_same_space
from edgevpr.errors import (
    ArtifactError,
    NumericsError,
    UsageError,
)
from edgevpr.places.check_positions import check_positions
from edgevpr.places.near import Near, Positions
from edgevpr.printable import shell_word
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.retrieval.faiss_layers import innermost
from edgevpr.retrieval.projection import Projection
from edgevpr.retrieval.read_index import read_index
from edgevpr.runtime.gallery.parts import Parts
from edgevpr.runtime.gallery.search_parameters import parameters_problem
from edgevpr.runtime.gallery.selection import Selection

#: Bytes of an index from which it is mapped, and not read into memory.
MAPPED_FROM = 32 << 20


class Gallery:
    """``record``, ``images`` and a search with the chosen parameters.

    Row i of ``images`` is row i of every answer: first the images of the index (FAISS id i), then
    those that ``edgevpr gallery add`` put beside it. ``ids`` has the id that each keeps through
    all changes. An opened gallery does not change; ``replaced`` is true once a newer generation
    is at its path.

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
        settled(path, lambda: self._open(path, parameters, verify))

    def _open(self, path: Path, parameters: str | None, verify: bool) -> None:
        self._identity = identity(path)
        self._mapped: list[str] = []
        files = GalleryFiles(path, verify=verify)
        self.artifact, self.record = files.artifact, files.record
        self.generation = files.generation
        self.images, self.ids, self.live = files.images, files.ids, files.live
        check_positions(
            self.images,
            str(self.artifact.path),
            "correct them and write the gallery again with edgevpr index",
            ArtifactError,
            self.live,
        )
        self._given = parameters is not None
        self._chosen = self.record.chosen.parameters if parameters is None else parameters
        self.parameters = self._chosen
        self.projection = Projection.of_gallery(self.artifact, self.record)
        self._index = self._read_index(files.index_file, INDEX, self.record.count)
        files.check_index(self._index.ntotal, self._index.d)
        self._set_parameters(self._index)
        added = self._read_added(files)
        self._added_is_alike = added is not None and _alike(added, self._index)
        self._parts = Parts(self._index, added, self.live)
        self._changed = added is not None or not self.live.all()
        self._positions: Positions | None = None
        self._near: tuple[Near, list[Selection]] | None = None

    def _read_added(self, files: GalleryFiles) -> Any:
        """The index of added images, its parameters set; None without any."""
        if files.added_index_file is None:
            return None
        added = self._read_index(files.added_index_file, ADDED_INDEX, self.generation.added)
        files.check_added_index(added.ntotal, added.d)
        if _alike(added, self._index):
            self._set_parameters(added)
        return added

    def _read_index(self, file: Path, name: str, rows: int) -> Any:
        """A small index in memory of its own, a large one as pages of its file, which are looked
        after: a read beyond the end of a file that was cut short ends the process (SIGBUS)."""
        mapped = self.artifact.manifest.files[name].size >= MAPPED_FROM
        index = read_index(
            file,
            self.record.faiss_version,
            mapped=mapped,
            shown=self.artifact.path / name,
            rows=rows,
        )
        self.artifact.check_untouched(name)
        self._mapped += [name] * mapped
        return index

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
                f"found projection {record.projection[:12]} fused into {bundle.path}, expected "
                f"{of_this}, as in {here}: run edgevpr compile MODEL --gallery {shell_word(here)} "
                "again"
            )
        if record.dim != self.record.dim:
            raise ArtifactError(
                f"found {bundle.path} for descriptors of {record.dim} numbers, expected "
                f"{self.record.dim}, as in {here}: use a bundle and a gallery made from the same "
                "networks"
            )

    def exit_record(self, exit: str, model_digest: str) -> GalleryExit | None:
        """What ``edgevpr index`` found for an early exit of a network; None: nothing."""
        for each in self.record.exits:
            if (each.name, each.model_digest) == (exit, model_digest):
                return each
        return None

    def parameters_at(self, exit: str, model_digest: str) -> str:
        """FAISS parameter string to search with for an exit: its own, or as without exits."""
        found = None if self._given else self.exit_record(exit, model_digest)
        return self._chosen if found is None else found.chosen.parameters

    def use(self, parameters: str) -> None:
        """Search with these FAISS parameters from now on.

        Raises:
            UsageError: FAISS does not know them.
        """
        if parameters == self.parameters:
            return
        self.parameters = parameters
        self._set_parameters(self._index)
        if self._added_is_alike:
            self._set_parameters(self._parts.added)
        self._parts.forget_parameters(self._near[1] if self._near else [])

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
            CorruptArtifactError: the index is mapped, and its file was written over.
            DataError: no image is near the point.
        """
        import faiss

        if not np.isfinite(descriptors).all():
            raise NumericsError(
                "found NaN or infinity in a descriptor of the engine, expected finite numbers: "
                "compile the bundle again in FP32, and look at the network if that fails too"
            )
        width = descriptors.shape[1]
        if width == self.record.dim and self.projection is not None:
            descriptors = self.projection.apply(descriptors)
        elif width != self.record.index_dim:
            raise ArtifactError(
                f"found descriptors of {width} numbers, expected {self.record.index_dim} or "
                f"{self.record.dim} for {self.artifact.path}: use a bundle compiled with edgevpr "
                f"compile MODEL --gallery {shell_word(self.artifact.path)}"
            )
        for name in self._mapped:
            self.artifact.check_untouched(name)
        # One thread: a team of them costs more than a single search. The setting belongs to the
        # calling thread in OpenMP, so it is made here and not where the gallery was opened.
        faiss.omp_set_num_threads(1)
        if within is not None:
            return self._parts.search(descriptors, min(k, len(self.images)), self._among(within))
        if self._changed:
            return self._parts.search(descriptors, min(k, len(self.images)))
        scores, rows = self._index.search(descriptors, min(k, self.record.count))
        return scores, rows

    def _among(self, within: Near | NDArray[np.bool_]) -> list[Selection]:
        if not isinstance(within, Near):
            return self._parts.only(within)
        if self._near is None or self._near[0] != within:
            self._near = within, self._parts.only(self.near(within))
        return self._near[1]

    def _set_parameters(self, index: Any) -> None:
        import faiss

        space: Any = faiss.ParameterSpace()
        problem = parameters_problem(self.parameters, index.ntotal)
        try:
            if not problem:
                space.set_index_parameters(index, self.parameters)
        except RuntimeError:
            problem = "FAISS has no such parameter"
        if problem:
            raise UsageError(
                f"found `parameters` {self.parameters!r}, which FAISS does not accept for "
                f"{self.record.factory} ({problem}), expected a string such as "
                f"{self.record.chosen.parameters!r}: correct `parameters` or leave it out"
            )


def _alike(added: Any, index: Any) -> bool:
    """Whether the parameters of an index are those of what was added beside it, too."""
    return type(innermost(added)) is type(innermost(index))
