"""Artifacts that are replaced while they are being read."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevpr.artifacts import folder, gallery_files
from edgevpr.artifacts.features import Features
from edgevpr.artifacts.folder import open_artifact, settled
from edgevpr.artifacts.gallery_files import GalleryFiles
from edgevpr.compile.gallery_updates import change
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.errors import CorruptArtifactError, DataError, ResourceError

from ..maps import SPACE, place_vectors, write_features


def test_an_artifact_is_read_again_when_it_was_replaced(tmp_path: Path) -> None:
    """Files found missing then are no error of the artifact that is there now."""
    path = write_features(tmp_path / "f", range(3))
    turns: list[int] = []

    def read() -> int:
        turns.append(len(Features(path).table))
        if len(turns) == 1:
            write_features(path, range(5))
            raise DataError("found nothing at f, expected a file: write it")
        return turns[-1]

    assert settled(path, read) == 15
    assert turns == [9, 15]


def test_parts_of_two_are_read_again(tmp_path: Path) -> None:
    """Without an error, too: what was read first may be of the one before."""
    path = write_features(tmp_path / "f", range(3))
    turns: list[int] = []

    def read() -> int:
        turns.append(len(Features(path).table))
        if len(turns) == 1:
            write_features(path, range(5))
        return turns[-1]

    assert settled(path, read) == 15


def test_errors_of_an_artifact_that_stays_are_told(tmp_path: Path) -> None:
    path = write_features(tmp_path / "f", range(3))
    (path / "images.csv").unlink()
    with pytest.raises(CorruptArtifactError, match=r"no images\.csv"):
        open_artifact(path, "features")
    with pytest.raises(DataError, match="found nothing at"):
        open_artifact(tmp_path / "none", "features")


def test_replaced_again_and_again(tmp_path: Path) -> None:
    path = write_features(tmp_path / "f", range(3))
    with pytest.raises(ResourceError, match="replaced 5 times"):
        settled(path, lambda: write_features(path, range(3)))


def _once(function: Callable[..., Any], first: Callable[[], object]) -> Callable[..., Any]:
    """``function``, before whose first call something happens."""
    waiting = [first]

    def called(*args: Any, **given: Any) -> Any:
        while waiting:
            waiting.pop()()
        return function(*args, **given)

    return called


def test_opened_while_a_writer_swaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the manifest and the files it lists, the folder is another one."""
    path = write_features(tmp_path / "f", range(3))
    replace = _once(folder.check_names, lambda: write_features(path, range(5)))
    monkeypatch.setattr(folder, "check_names", replace)
    assert len(Features(path).table) == 15


def test_a_gallery_whose_files_go_while_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader had the manifest of one generation, and found the folder without its tables."""
    path, vectors = tmp_path / "g", place_vectors(range(4))
    build_gallery(write_features(tmp_path / "f", range(4), vectors=vectors, space=SPACE), path)

    def replace() -> None:
        change.remove(path, place=[1])
        shutil.rmtree(path.with_name(f".{path.name}.generations"))

    monkeypatch.setattr(gallery_files, "read_table", _once(gallery_files.read_table, replace))
    files = GalleryFiles(path, verify=False)
    assert files.generation.number == 2
    assert int(np.sum(~files.live)) == 3
