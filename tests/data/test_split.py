"""database/ and queries/ side by side."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgevpr.data import read_split
from edgevpr.errors import DataError
from edgevpr.places.positives import positives
from edgevpr.places.table import ImageTable

Touch = Callable[..., Path]


def test_both_folders(touch: Touch) -> None:
    """Paths open from the root."""
    root = touch("database/a/@100@0@.jpg", "database/@500@0@.JPG", "queries/@110@0@.jpg")
    gallery, queries = read_split(root)
    assert gallery.paths == ["database/@500@0@.JPG", "database/a/@100@0@.jpg"]
    assert queries.paths == ["queries/@110@0@.jpg"]
    assert all((root / path).is_file() for path in gallery.paths + queries.paths)
    assert positives(queries, gallery)[0].tolist() == [1]


def test_other_query_folders_and_tables(touch: Touch) -> None:
    """Several query folders, and folders with an images.csv."""
    root = touch("database/0.jpg", "queries_night/1.jpg")
    ImageTable.build(["0.jpg"], place=[3]).save(root / "database" / "images.csv")
    ImageTable.build(["1.jpg"], place=[3]).save(root / "queries_night" / "images.csv")
    gallery, queries = read_split(root, "queries_night")
    assert queries.paths == ["queries_night/1.jpg"]
    assert positives(queries, gallery)[0].tolist() == [0]


def test_a_missing_folder_says_where_there_is_one(touch: Touch) -> None:
    """images/ passed for images/test."""
    root = touch("test/database/@1@2@.jpg", "test/queries/@1@2@.jpg", "val/database/@1@2@.jpg")
    with pytest.raises(DataError, match=r"no folder database .*found in \S*images/test\): check"):
        read_split(root)
    with pytest.raises(DataError, match=r"no folder queries in .*/val, expected"):
        read_split(root / "val")
