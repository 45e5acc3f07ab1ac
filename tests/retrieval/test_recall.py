"""Recall@K against its definition, written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevpr.errors import DataError
from edgevpr.retrieval.recall import Recall, hits, recall_at


@st.composite
def searches(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray], int]:
    """Ranked predictions (some -1), positives (some empty), gallery size."""
    database = draw(st.integers(1, 30))
    k = draw(st.integers(1, min(database, 12)))
    queries = draw(st.integers(1, 8))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    ranked = np.stack([rng.permutation(database)[:k] for _ in range(queries)])
    ranked[rng.random(ranked.shape) < 0.1] = -1
    positives = [rng.permutation(database)[: rng.integers(0, 4)] for _ in range(queries)]
    if all(len(p) == 0 for p in positives):
        positives[0] = np.array([0])
    return ranked, positives, database


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(searches(), st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_against_the_definition(
    search: tuple[np.ndarray, list[np.ndarray], int], ks: list[int]
) -> None:
    ranked, positives, database = search
    result = recall_at(ranked, positives, database=database, ks=ks)
    answerable = [i for i, good in enumerate(positives) if len(good)]
    for k, value in result.at.items():
        found = sum(
            any(int(row) in positives[i].tolist() for row in ranked[i][:k]) for i in answerable
        )
        assert value == pytest.approx(100 * found / len(answerable))
        assert result.of_all[k] == pytest.approx(100 * found / len(positives))
    assert result.queries == len(positives)
    assert result.without_positives == len(positives) - len(answerable)
    wanted = [k for k in ks if k <= min(database, ranked.shape[1])]
    assert list(result.at) == list(dict.fromkeys(wanted or [1]))


def test_values_of_k_that_were_not_searched_are_left_out() -> None:
    """R@10 of a search that returned five would be R@5."""
    ranked = np.tile(np.arange(5), (2, 1))
    result = recall_at(ranked, [np.array([4]), np.array([99])], database=100)
    assert list(result.at) == [1, 5]
    assert result.at[5] == 50.0


def test_queries_without_positives_are_counted_and_left_out() -> None:
    ranked = np.array([[0], [1], [2]])
    result = recall_at(ranked, [np.array([0]), np.array([]), np.array([5])], database=9, ks=(1,))
    assert result.at == {1: 50.0}
    assert result.of_all == {1: pytest.approx(100 / 3)}
    assert (result.database, result.queries, result.without_positives) == (9, 3, 1)


def test_nothing_found_is_a_miss() -> None:
    assert recall_at(np.array([[-1, -1]]), [np.array([0])], database=2, ks=(1, 2)).at == {
        1: 0.0,
        2: 0.0,
    }


def test_no_positive_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match=r"no positive for any of 2 queries.*expected.*check"):
        recall_at(np.zeros((2, 1), int), [np.array([]), np.array([])], database=3)


def test_the_usual_line() -> None:
    recall = Recall({1: 98.84, 5: 100.0}, {1: 98.84, 5: 100.0}, 9, 1234, without_positives=0)
    assert recall.line() == "R@1: 98.8, R@5: 100.0"
    assert recall.lines() == ["all 1,234 queries, each answerable: R@1: 98.8, R@5: 100.0"]
    recall = Recall({1: 50.0}, {1: 37.5}, database=9, queries=8, without_positives=2)
    assert recall.lines() == ["all 8 queries: R@1: 37.5", "6 answerable queries: R@1: 50.0"]


def test_hits_want_one_list_of_positives_a_query() -> None:
    assert hits(np.empty((0, 3), int), []).shape == (0, 3)
    with pytest.raises(ValueError, match="2 predictions for 1 queries"):
        hits(np.zeros((2, 3), int), [np.array([1])])
