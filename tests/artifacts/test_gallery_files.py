"""The reader of gallery artifacts: tables, ids and live rows, without FAISS."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgevpr.artifacts.gallery_files import GalleryFiles
from edgevpr.artifacts.generations import rollback
from edgevpr.compile.gallery_updates import change
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.errors import CorruptArtifactError

from ..maps import DIM, VIEWS, place_vectors, write_features

OWN, NEW = range(20), range(20, 25)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """20 places, 5 added beside the index, one of each removed."""
    write_features(tmp_path / "own", OWN)
    write_features(tmp_path / "new", NEW, prefix="new")
    build_gallery(tmp_path / "own", tmp_path / "g", options=IndexOptions(factory="Flat"))
    change.add(tmp_path / "g", tmp_path / "new")
    change.remove(tmp_path / "g", place=[3, 22])
    return tmp_path / "g"


def test_rows_of_the_index_then_those_added(gallery: Path) -> None:
    files = GalleryFiles(gallery)
    assert (len(files.own), len(files.added)) == (20 * VIEWS, 5 * VIEWS)
    assert files.images.paths == [*files.own.paths, *files.added.paths]
    assert files.ids.tolist() == list(range(25 * VIEWS))
    assert set(files.images.place[~files.live].tolist()) == {3, 22}
    np.testing.assert_allclose(files.added_vectors(), place_vectors(NEW), atol=1e-3)


def test_a_gallery_as_it_was_indexed(gallery: Path) -> None:
    rollback(gallery)
    rollback(gallery)
    files = GalleryFiles(gallery)
    assert files.live.all()
    assert len(files.added) == 0
    assert files.added_index_file is None
    assert files.added_vectors().shape == (0, DIM)


def test_sizes_that_do_not_fit_the_record(gallery: Path) -> None:
    files = GalleryFiles(gallery)
    files.check_index(20 * VIEWS, DIM)
    files.check_added_index(5 * VIEWS, DIM)
    for check in (files.check_index, files.check_added_index):
        with pytest.raises(CorruptArtifactError, match="found 7 vectors of 64 numbers"):
            check(7, DIM)
    for name in ("images.csv", "added.csv"):
        text = (gallery / name).read_text()
        (gallery / name).write_text(text.rpartition("\n")[0].rpartition("\n")[0])
        with pytest.raises(CorruptArtifactError, match=rf"images in .*{name}"):
            resized(gallery)
        (gallery / name).write_text(text)
    np.save(gallery / "added.npy", np.zeros((2, DIM), np.float16))
    with pytest.raises(CorruptArtifactError, match=r"added\.npy"):
        resized(gallery).added_vectors()


def resized(gallery: Path) -> GalleryFiles:
    """The gallery with a manifest of its files as they are."""
    from edgevpr.artifacts.folder import seal
    from edgevpr.artifacts.manifest import MANIFEST, Manifest, read_json

    manifest = read_json(gallery / MANIFEST, Manifest)
    (gallery / MANIFEST).unlink()
    seal(gallery, manifest.kind, manifest.space)
    return GalleryFiles(gallery)


def test_no_faiss_is_loaded(gallery: Path) -> None:
    program = (
        "import sys; sys.modules['faiss'] = None\n"
        "from edgevpr.artifacts.gallery_files import GalleryFiles\n"
        f"print(len(GalleryFiles({str(gallery)!r}).images))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == str(25 * VIEWS), done.stderr


def test_the_index_that_is_read_is_the_one_that_was_checked(gallery: Path) -> None:
    """Another file put in its place after the check is not read."""
    files = GalleryFiles(gallery)
    before = (gallery / "index.faiss").read_bytes()
    (gallery / "other").write_bytes(b"other")
    (gallery / "other").rename(gallery / "index.faiss")
    assert files.index_file.read_bytes() == before
