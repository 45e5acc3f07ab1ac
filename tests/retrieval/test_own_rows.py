"""Queries that are gallery images: found, and left out of what answers them."""

import numpy as np

from edgevpr.places.table import ImageTable
from edgevpr.retrieval.own_rows import own_rows, positives_without_own, without_own


def test_the_own_row_leaves_a_ranking() -> None:
    rows = np.array([[3, 1, 2], [0, 4, 1], [7, 8, 2]])
    found = without_own(rows, np.array([1, 0, 9]))
    assert found.tolist() == [[3, 2], [4, 1], [7, 8]]
    assert without_own(rows, None) is rows


def test_the_own_row_is_no_positive() -> None:
    good = [np.array([1, 4]), np.array([2])]
    assert [g.tolist() for g in positives_without_own(good, np.array([4, -1]))] == [[1], [2]]
    assert positives_without_own(good, None) == good


def test_the_same_image_has_the_same_name_and_position() -> None:
    gallery = ImageTable.build(
        ["a/1.jpg", "b/1.jpg", "2.jpg"], easting=[0, 100, 200], northing=[0, 0, 0]
    )
    queries = ImageTable.build(
        ["1.jpg", "2.jpg", "2.jpg", "3.jpg"], easting=[100.5, 200, 300, 0], northing=[0, 0, 0, 0]
    )
    assert own_rows(queries, gallery).tolist() == [1, 2, 2, -1]
    assert own_rows(queries.take([2]), gallery.take([0, 1])).tolist() == [-1]
