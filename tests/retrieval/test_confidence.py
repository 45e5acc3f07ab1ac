"""Evidence of a match and the figures of a confidence, on cases small enough to count by hand."""

import numpy as np
import pytest

from edgevpr.places.table import ImageTable
from edgevpr.retrieval.confidence import calibration_error, evidence, figures, same_place

#: Three images of a corner, two of another 100 m on, one without coordinates, one beyond a border.
IMAGES = ImageTable.build(
    [f"{i}.jpg" for i in range(7)],
    place=[1, 1, 2, 3, 3, 3, -1],
    easting=[0.0, 10.0, 20.0, 100.0, 110.0, np.nan, 0.0],
    northing=[0.0, 0.0, 0.0, 0.0, 0.0, np.nan, 0.0],
    zone=[33, 33, 33, 33, 33, 0, 34],
)


def numbers(scores: list[float], rows: list[int], radius_m: float = 25.0) -> list[float]:
    return evidence(np.array(scores, np.float32), np.array(rows), IMAGES, radius_m).tolist()


def test_the_runner_up_is_another_place() -> None:
    """Not a second image of the same one."""
    assert numbers([0.9, 0.8, 0.7, 0.5, 0.3], [0, 1, 2, 3, 4]) == pytest.approx([0.9, 0.4, 0.5])
    # at 15 m the third image is another place
    assert numbers([0.9, 0.8, 0.7], [0, 1, 2], 15.0) == pytest.approx([0.9, 0.2, 0.2])


def test_what_was_not_found_is_no_evidence() -> None:
    """Rows of -1 count for nothing; a search without results gives zeros."""
    assert numbers([0.9, 0.5, -1.0], [0, 3, -1]) == pytest.approx([0.9, 0.4, 0.4])
    assert numbers([-1.0, -1.0], [-1, -1]) == [0.0, 0.0, 0.0]
    # one place alone: the least similar image stands for the others
    assert numbers([0.9, 0.8], [0, 1]) == pytest.approx([0.9, 0.1, 0.1])


def test_asking_for_more_answers_changes_nothing() -> None:
    """50 answers give the confidence of 5."""
    scores = np.linspace(0.9, 0.1, 60, dtype=np.float32)
    rows = np.array([0, 3] * 30)
    short = evidence(scores[:20], rows[:20], IMAGES, 25.0)
    np.testing.assert_array_equal(evidence(scores, rows, IMAGES, 25.0), short)


def test_places_by_metres_else_by_id() -> None:
    assert same_place(IMAGES, 0, np.arange(7), 25.0).tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert same_place(IMAGES, 5, np.arange(7), 25.0).tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert same_place(IMAGES, 6, np.arange(7), 25.0).tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_figures_by_hand() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.2])
    right = np.array([1, 1, 0, 1, 0, 0], bool)
    mapped = np.array([1, 1, 1, 1, 0, 0], bool)
    found = figures(confidence, confidence >= 0.5, right, mapped)
    assert found.r_at_100p == 50.0  # two of four are above the first wrong one
    assert found.coverage == 100.0
    assert found.precision_known == 60.0
    assert found.false_known == 50.0
    none = figures(confidence, confidence > 1, right, mapped)
    assert (none.coverage, none.precision_known, none.false_known) == (0.0, None, 0.0)


def test_calibration_error() -> None:
    draw = np.random.default_rng(0)
    confidence = draw.uniform(size=20_000)
    right = draw.uniform(size=20_000) < confidence
    assert calibration_error(confidence, right) < 0.02  # measured 0.006
    # overconfident by a known amount: the mean of sqrt(p) - p is 1/6
    assert calibration_error(np.sqrt(confidence), right) == pytest.approx(1 / 6, abs=0.01)
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
