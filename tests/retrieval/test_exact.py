"""Exact search against numpy's argsort."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevpr.retrieval import exact as search
from edgevpr.retrieval.exact import exact_search


def by_argsort(queries: np.ndarray, gallery: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = queries.astype(np.float32) @ gallery.astype(np.float32).T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, axis=1), rows


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 6),
    st.integers(0, 40),
    st.integers(0, 45),
    st.integers(1, 50),
    st.sampled_from([1, 3, 1000]),
)
def test_against_argsort_with_many_ties(
    seed: int, queries: int, images: int, k: int, chunk: int, levels: int
) -> None:
    """Small whole numbers make the products exact, so equal scores are equal to the last bit
    whatever the order of the sums.

    Small whole numbers make the products exact, so equal scores are equal to the last bit
    whatever the order of the sums.
    """
    rng = np.random.default_rng(seed)
    q = rng.integers(-levels, levels + 1, (queries, 4)).astype(np.float32)
    g = rng.integers(-levels, levels + 1, (images, 4)).astype(np.float32)
    scores, rows = exact_search(q, g, k, chunk=chunk)
    expected_scores, expected_rows = by_argsort(q, g, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)


def test_more_queries_than_are_scored_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "QUERIES", 3)
    rng = np.random.default_rng(0)
    q, g = rng.integers(-9, 9, (10, 5)), rng.integers(-9, 9, (50, 5))
    scores, rows = exact_search(q, g, 7, chunk=13)
    expected_scores, expected_rows = by_argsort(q, g, 7)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


def test_float16_galleries_on_disk(tmp_path: Path) -> None:
    """Products are taken in float32: neighbours lie 1e-4 apart."""
    rng = np.random.default_rng(0)
    g = rng.standard_normal((300, 64))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    path = tmp_path / "g.npy"
    np.save(path, g.astype(np.float16))
    mapped = np.load(path, mmap_mode="r")
    scores, rows = exact_search(mapped[:20], mapped, 5, chunk=64)
    exact = mapped[:20].astype(np.float64) @ mapped.astype(np.float64).T
    np.testing.assert_array_equal(rows[:, 0], np.arange(20))
    # float32 sums of 64 products of unit vectors; measured 1.2e-7
    np.testing.assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=1e-6)


def test_changes_to_a_private_map_stay(tmp_path: Path) -> None:
    """Pages of a file are given back after a chunk; of a copy-on-write map that would undo."""
    np.save(tmp_path / "g.npy", np.eye(6, dtype=np.float32))
    private = np.load(tmp_path / "g.npy", mmap_mode="c")
    private[0] = 0
    exact_search(private, private, 1, chunk=2)
    assert not private[0].any()


def test_nan_ranks_last_and_does_not_crash() -> None:
    g = np.eye(4, dtype=np.float32)
    g[1] = np.nan
    scores, rows = exact_search(np.ones((2, 4)), g, 4, chunk=2)
    assert rows.tolist() == [[0, 2, 3, 1]] * 2
    assert np.isnan(scores[:, 3]).all()
    _, rows = exact_search(np.full((1, 4), np.nan), g, 2)
    assert rows.tolist() == [[0, 1]]


def test_k_beyond_the_gallery() -> None:
    """There are no padding rows."""
    scores, rows = exact_search(np.ones((3, 2)), np.ones((2, 2)), 10)
    assert rows.tolist() == [[0, 1]] * 3
    assert scores.shape == (3, 2)
