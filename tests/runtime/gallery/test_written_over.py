"""Galleries whose files are written over in place while a robot searches in them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgevpr.compile.index.build_index import build_gallery
from edgevpr.errors import CorruptArtifactError
from edgevpr.runtime.gallery import gallery
from edgevpr.runtime.gallery.gallery import Gallery

from ...maps import place_vectors, write_features


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    build_gallery(write_features(tmp_path / "features", range(40)), tmp_path / "gallery")
    return tmp_path / "gallery"


CUT = """
import os, sys
import numpy as np
from pathlib import Path
from edgevpr.errors import CorruptArtifactError
from edgevpr.runtime.gallery import gallery

gallery.MAPPED_FROM = int(sys.argv[2])
opened = gallery.Gallery(Path(sys.argv[1]))
query = np.load(sys.argv[3])
before = opened.search(query, 3)[1]
os.truncate(Path(sys.argv[1]) / "index.faiss", 64)
try:
    same = (opened.search(query, 3)[1] == before).all()
except CorruptArtifactError as error:
    print(error)
else:
    print("the same" if same else "other answers")
"""


@pytest.mark.parametrize(("mapped_from", "says"), [(0, "written over"), (1 << 30, "the same")])
def test_an_index_that_is_cut_short(plain: Path, mapped_from: int, says: str) -> None:
    """The process would die of SIGBUS without a word; an index in memory answers on."""
    query = plain.parent / "query.npy"
    np.save(query, place_vectors(range(40)))
    done = subprocess.run(
        [sys.executable, "-c", CUT, str(plain), str(mapped_from), str(query)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert says in done.stdout


def test_an_index_of_the_same_size(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other content is refused; a file that was only touched is not."""
    monkeypatch.setattr(gallery, "MAPPED_FROM", 0)
    opened, query = Gallery(plain), place_vectors(range(1))
    opened.search(query, 3)
    os.utime(plain / "index.faiss", ns=(1, 1))
    opened.search(query, 3)
    with (plain / "index.faiss").open("r+b") as stream:
        stream.seek(-3, os.SEEK_END)
        byte = stream.read(1)[0]
        stream.seek(-3, os.SEEK_END)
        stream.write(bytes([byte ^ 1]))
    with pytest.raises(CorruptArtifactError, match="written over while it was in use"):
        opened.search(query, 3)


def test_small_indexes_are_not_mapped(plain: Path) -> None:
    assert str(plain) not in Path("/proc/self/maps").read_text()
    opened = Gallery(plain)
    assert str(plain) not in Path("/proc/self/maps").read_text()
    assert len(opened.images) == 120
