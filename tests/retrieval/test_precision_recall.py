"""Precision-recall curves against their definition, one threshold after the other."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevpr.errors import DataError
from edgevpr.retrieval.precision_recall import Curve, PrecisionRecall, precision_recall_curve


def _of(scores: list[float], right: list[int], mapped: list[int]) -> Curve:
    """The curve of queries whose best match is row 0; 1 in ``right`` makes it a positive."""
    good = [
        np.array([0] if r else [7] if m else [], int) for r, m in zip(right, mapped, strict=True)
    ]
    column = np.array(scores)[:, None]
    return precision_recall_curve(column, np.zeros_like(column, int), good)


def test_by_hand() -> None:
    """Right, right, wrong, right; the fifth query has no positive, the sixth is never right.

    TP / answered: 1/1, 2/2, 2/3, 3/4, 3/5, 3/6; five queries have a positive.
    """
    curve = _of([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 0, 1])
    assert curve.threshold == (None, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    assert curve.precision == pytest.approx((1, 1, 1, 2 / 3, 3 / 4, 3 / 5, 3 / 6))
    assert curve.recall == pytest.approx((0, 0.2, 0.4, 0.4, 0.6, 0.6, 0.6))
    area = 0.4 * 1 + 0.2 * (2 / 3 + 3 / 4) / 2
    assert curve.figures().r_at_100p == pytest.approx(40)
    assert curve.figures().auc_pr == pytest.approx(area)
    assert curve.figures().auc_pr_of_correct == pytest.approx(area / 0.6)


@pytest.mark.parametrize("right", [[1, 1, 0], [1, 0, 1], [0, 1, 1]])
def test_equal_scores_are_answered_together(right: list[int]) -> None:
    """Catches a recall at 100 % precision that depends on the order of ties."""
    curve = _of([0.9, 0.9, 0.9], right, [1, 1, 1])
    assert curve.precision == pytest.approx((1, 2 / 3))
    assert curve.figures() == PrecisionRecall(
        0.0, pytest.approx(2 / 3 * (1 + 2 / 3) / 2), pytest.approx((1 + 2 / 3) / 2)
    )


def test_all_right_and_all_wrong() -> None:
    assert _of([3, 2], [1, 1], [1, 1]).figures() == PrecisionRecall(100.0, 1.0, 1.0)
    assert _of([3, 2], [0, 0], [1, 1]).figures() == PrecisionRecall(0.0, 0.0, 0.0)


def test_nothing_found_is_never_answered() -> None:
    """Catches a query without an answer that counts as a wrong one."""
    curve = precision_recall_curve(
        np.array([[0.5], [0.9]]), np.array([[0], [-1]]), [np.array([0]), np.array([1])]
    )
    assert curve.precision == (1.0, 1.0)
    assert curve.recall == (0.0, 0.5)
    nothing = precision_recall_curve(np.zeros((1, 1)), np.array([[-1]]), [np.array([0])])
    assert nothing.figures() == PrecisionRecall(0.0, 0.0, 0.0)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([(0, 0), (0, 1), (1, 1)])),
        min_size=1,
        max_size=25,
    )
)
def test_against_the_definition(queries: list[tuple[int, tuple[int, int]]]) -> None:
    """Every threshold counted out, the areas also as scikit-learn has them; many ties."""
    scores = np.array([score for score, _ in queries], float)
    right = np.array([r for _, (r, _) in queries])
    mapped = np.array([m for _, (_, m) in queries])
    if not mapped.any():
        with pytest.raises(DataError, match="no positive for any"):
            _of(scores.tolist(), right.tolist(), mapped.tolist())
        return
    curve = _of(scores.tolist(), right.tolist(), mapped.tolist())
    expected = [(1.0, 0.0)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        answered = scores >= threshold
        tp, fp = int((answered & (right == 1)).sum()), int((answered & (right == 0)).sum())
        expected.append((tp / (tp + fp), tp / int(mapped.sum())))
    np.testing.assert_allclose(np.stack([curve.precision, curve.recall], 1), expected, atol=1e-12)
    assert curve.figures().r_at_100p == pytest.approx(
        100 * max(recall for precision, recall in expected if precision == 1)
    )
    metrics = pytest.importorskip("sklearn.metrics")
    if right.any():
        precision, recall, _ = metrics.precision_recall_curve(right, scores)
        assert curve.figures().auc_pr_of_correct == pytest.approx(metrics.auc(recall, precision))


def test_the_file_holds_the_curve() -> None:
    curve = _of([0.25, 0.125], [1, 0], [1, 1])
    rows = list(csv.DictReader(io.StringIO(curve.to_csv())))
    assert [row["threshold"] for row in rows] == ["", "0.25", "0.125"]
    assert [float(row["precision"]) for row in rows] == list(curve.precision)
    assert [float(row["recall"]) for row in rows] == list(curve.recall)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match=r"1 scores of best matches.*check the descriptors"):
        _of([np.nan, 1.0], [1, 1], [1, 1])
