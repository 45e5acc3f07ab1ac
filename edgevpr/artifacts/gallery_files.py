"""Reader of gallery artifacts: record, image tables, stable ids, live rows, generation.

The FAISS indexes are files here and nothing more, so that none of this loads FAISS.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.arrays import read_array
from edgevpr.artifacts.folder import open_artifact, settled
from edgevpr.artifacts.generations import generation_of
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import GalleryRecord
from edgevpr.artifacts.tables import read_table
from edgevpr.errors import CorruptArtifactError
from edgevpr.places.table import concat
from edgevpr.printable import counted

INDEX, TABLE, PROJECTION = "index.faiss", "images.csv", "projection.npy"
ADDED_INDEX, ADDED_VECTORS, ADDED_TABLE = "added.faiss", "added.npy", "added.csv"
REMOVED, IDS = "removed.npy", "ids.npy"
#: The files that a change may replace, beside the generation's record.
CHANGE_FILES = (ADDED_INDEX, ADDED_VECTORS, ADDED_TABLE, REMOVED, IDS)


class GalleryFiles:
    """A gallery as it is on the disk: the N images of its index, then M added beside it.

    Args:
        path: folder of the artifact.
        verify: hash every file before reading it.

    Attributes:
        own: table of the N images of the index; row i is FAISS id i.
        added: table of the M images added since, in the order of ``added_index_file``.
        images: both, N + M rows; row i is row i of ``ids``, ``live`` and every answer.
        ids: (N + M,) the id that each image keeps through all changes.
        live: (N + M,) which images have not been removed.

    Raises:
        DataError, ArtifactError: no artifact, not a gallery, truncated or changed.
        CorruptArtifactError: tables, ids or removed rows that do not fit the record.
    """

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        self._verify = verify
        settled(Path(path), lambda: self._read(path, verify))

    def _read(self, path: Path, verify: bool) -> None:
        self.artifact = open_artifact(path, "gallery", verify=verify)
        self.record = self.artifact.read("gallery.json", GalleryRecord)
        self.generation = generation_of(self.artifact, self.record.count)
        self.own = read_table(self.artifact, TABLE)
        self._check_count(TABLE, len(self.own), self.record.count, "edgevpr index")
        self.added = self.own.take([])
        if self.generation.added:
            self.added = read_table(self.artifact, ADDED_TABLE)
            self._check_count(
                ADDED_TABLE, len(self.added), self.generation.added, "edgevpr gallery rollback"
            )
        self.images = concat([self.own, self.added]) if self.generation.added else self.own
        self.ids = _stable_ids(self.artifact, len(self.images))
        self.live = _live_rows(self.artifact, self.generation.removed, len(self.images))
        # Open from here on, whatever takes the folder's place.
        self._open_files = self.index_file, self.added_index_file

    @property
    def path(self) -> Path:
        return self.artifact.path

    @property
    def index_file(self) -> Path:
        """FAISS index of the ``own`` images: the file that was hashed (``Artifact.held``), valid
        as long as this object."""
        return self.artifact.held(INDEX, verify=self._verify)

    @property
    def added_index_file(self) -> Path | None:
        """FAISS index of the ``added`` images; None without any."""
        if not self.generation.added:
            return None
        return self.artifact.held(ADDED_INDEX, verify=self._verify)

    def added_vectors(self) -> NDArray[np.float32]:
        """(M, d) the added images in the index's space."""
        shape = (self.generation.added, self.record.index_dim)
        if not self.generation.added:
            return np.empty(shape, np.float32)
        return np.asarray(read_array(self.artifact, ADDED_VECTORS, np.float16, shape), np.float32)

    def check_index(self, ntotal: int, dim: int) -> None:
        """Raise unless a FAISS index read from ``index_file`` has as many vectors of as many
        numbers as the record says.

        Raises:
            CorruptArtifactError: it has not.
        """
        expected = self.record.count, self.record.index_dim
        self._check_index(INDEX, (ntotal, dim), expected, "write it again with edgevpr index")

    def check_added_index(self, ntotal: int, dim: int) -> None:
        """``check_index`` for ``added_index_file``."""
        expected = self.generation.added, self.record.index_dim
        self._check_index(
            ADDED_INDEX, (ntotal, dim), expected, "go back with edgevpr gallery rollback"
        )

    def _check_index(
        self, name: str, found: tuple[int, int], expected: tuple[int, int], repair: str
    ) -> None:
        if found != expected:
            raise CorruptArtifactError(
                f"found {counted(found[0], 'vector')} of {found[1]} numbers in {self.path / name}, "
                f"expected what its record says, {expected[0]} of {expected[1]}: {repair}"
            )

    def _check_count(self, name: str, found: int, expected: int, command: str) -> None:
        if found != expected:
            raise CorruptArtifactError(
                f"found {counted(found, 'image')} in {self.path / name}, expected what its record "
                f"says, {expected}: repair the gallery with {command}"
            )


def _live_rows(opened: Artifact, removed: int, total: int) -> NDArray[np.bool_]:
    """(total,) which rows have not been taken out."""
    live = np.ones(total, np.bool_)
    if removed:
        rows = read_array(opened, REMOVED, np.int64, (None,))
        if len(rows) and rows.min() >= 0 and rows.max() < total:
            live[rows] = False
        if total - live.sum() != removed:
            raise CorruptArtifactError(
                f"found other removed rows in {opened.path / REMOVED} than in its record, expected "
                f"{removed} of {total}: copy the gallery again, or go back with edgevpr gallery "
                "rollback"
            )
    return live


def _stable_ids(opened: Artifact, total: int) -> NDArray[np.int64]:
    """(total,) the id that each row keeps for as long as its image is in the gallery."""
    if IDS not in opened.manifest.files:
        return np.arange(total)
    ids = read_array(opened, IDS, np.int64, (total,))
    if total and (ids.min() < 0 or len(np.unique(ids)) < total):
        raise CorruptArtifactError(
            f"found negative or repeated ids in {opened.path / IDS}, expected one of its own for "
            "each image: copy the gallery again, or go back with edgevpr gallery rollback"
        )
    return ids
