"""The neighbour search against all distances, written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevpr.places import grid
from edgevpr.places.grid import within


def by_all_distances(queries: np.ndarray, gallery: np.ndarray, radius: float) -> list[list[int]]:
    distance = np.linalg.norm(queries[:, None] - gallery[None], axis=2)
    return [np.flatnonzero(row <= radius + grid.SLACK_M).tolist() for row in distance]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.integers(1, 80),
    st.sampled_from([0.0, 0.3, 1.0, 25.0, 400.0]),
    st.sampled_from([5.0, 100.0, 1e6]),
    st.booleans(),
    st.sampled_from([1, 7, 1 << 22]),
)
def test_against_all_distances(
    seed: int, q: int, n: int, radius: float, extent: float, lattice: bool, pairs: int
) -> None:
    """At cell edges, chunk edges and exactly on the radius too."""
    rng = np.random.default_rng(seed)
    queries, gallery = rng.uniform(-extent, extent, (q, 2)), rng.uniform(-extent, extent, (n, 2))
    if lattice:
        queries, gallery = np.round(queries / 5) * 5, np.round(gallery / 5) * 5
    before, grid.PAIRS = grid.PAIRS, pairs
    try:
        found = within(queries, gallery, radius)
    finally:
        grid.PAIRS = before
    assert [sorted(rows.tolist()) for rows in found] == by_all_distances(queries, gallery, radius)


def test_exactly_on_the_radius_at_real_coordinates() -> None:
    """Rounding makes 25 m 25.0000000001."""
    queries = np.array([[386_581.1, 6_173_962.3]])
    around = queries + np.array([[25.0, 0], [0, -25.0], [15.0, 20.0], [25.001, 0]])
    assert sorted(within(queries, around, 25.0)[0].tolist()) == [0, 1, 2]


@pytest.mark.parametrize("far", [1e9, 1e15])
def test_far_outliers_do_not_overflow(far: float) -> None:
    """Cell numbers stay within 64 bits."""
    gallery = np.array([[0.0, 0.0], [far, -far], [3.0, 4.0]])
    assert sorted(within(np.zeros((1, 2)), gallery, 5.0)[0].tolist()) == [0, 2]


def test_nothing_to_search() -> None:
    none = np.empty((0, 2))
    assert within(none, np.zeros((3, 2)), 1.0) == []
    assert [len(rows) for rows in within(np.zeros((2, 2)), none, 1.0)] == [0, 0]


def test_memory_is_bounded_in_a_dense_map() -> None:
    """A robot that stood still fills one cell with thousands of images."""
    import tracemalloc

    still = np.zeros((3000, 2))
    found = np.random.default_rng(0).uniform(-20, 20, (3000, 2))
    moved = found + 1000  # in no cell near
    before, grid.PAIRS = grid.PAIRS, 1 << 14
    tracemalloc.start()
    try:
        rows = within(still, np.vstack([moved, found[:200] * 2]), 1.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        grid.PAIRS = before
    assert len(rows) == 3000
    # 3,000 queries x up to 200 candidates are 600,000 pairs, 60 MB at once; measured 3 MB
    assert peak < 15e6
