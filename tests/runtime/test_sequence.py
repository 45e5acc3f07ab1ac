"""The filter against a forward pass over a dense matrix, and on drives with wrong frames."""

import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevpr.artifacts.records import ConfidenceModel
from edgevpr.errors import UsageError
from edgevpr.places.table import ImageTable
from edgevpr.runtime import sequence
from edgevpr.runtime.sequence import SequenceFilter
from edgevpr.runtime.sequence_cells import cells_of

from .build import PLACES, World, place_image

MODEL = ConfidenceModel(
    "logistic", [1.0, 0.0, 1.0], 0.0, 0.9, 99.0, 25.0, 0.05, 0.2, "m", 1, 1, 0, 0, 0, 0, 0,
    "measured",
)  # fmt: skip


def street(east: list[float], north: list[float] | None = None) -> ImageTable:
    """An image at each position, metres; every image a place."""
    count = len(east)
    return ImageTable.build(
        [f"{i}.jpg" for i in range(count)],
        place=np.arange(count),
        easting=500_000 + np.array(east),
        northing=6_000_000 + np.array(north or [0.0] * count),
        zone=np.full(count, 33),
        letter=["U"] * count,
    ).with_positions()


#: A crossing: ten places west to east 30 m apart, four more going north from the fifth.
CROSSING = street(
    [*(30.0 * i for i in range(10)), *[120.0] * 4], [*[0.0] * 10, 30.0, 60.0, 90.0, 120.0]
)


def dense_motion(bayes: SequenceFilter, leaving: float) -> np.ndarray:
    """(C, C) one step between squares, from positions alone: column is from, row is to."""
    cells = bayes.cells
    at = np.floor(bayes.images.xy[cells.row] / cells.side_m)
    touch = (np.abs(at[:, None] - at[None]).max(axis=2) <= 1) & ~np.eye(len(at), dtype=bool)
    degree = touch.sum(axis=1)
    step = np.where(touch, leaving / np.maximum(np.maximum(degree[:, None], degree), 1), 0.0)
    return step + np.diag(1.0 - step.sum(axis=0))


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_filter_is_the_forward_pass(calibrated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same model, dense, in float64, to 1e-12 over 40 frames at odd times."""
    monkeypatch.setattr(sequence, "_LEAST_BELIEF", 0.0)
    bayes = SequenceFilter(CROSSING, confidence_model=MODEL if calibrated else None)
    draw = np.random.default_rng(0)
    count = len(bayes.cells)
    assert count == 14
    belief = np.full(count + 1, (0.5 if calibrated else 1.0) / count)
    belief[-1] = 0.5 if calibrated else 0.0
    anew = belief.copy()
    time = 0.0
    for frame in range(40):
        passed = float(draw.choice([0.1, 1.0, 3.0, 30.0]))
        time += passed
        rows = draw.permutation(14)[:5]
        scores = np.sort(draw.uniform(0.4, 0.9, 5))[::-1].astype(np.float32)
        confidence = float(draw.uniform(0.02, 0.98)) if calibrated else None
        weight = 1.0
        if frame:
            hops = bayes.max_speed * passed / bayes.cells.side_m
            steps = min(math.ceil(hops), 8)
            motion = dense_motion(bayes, 1.0 - math.exp(-min(hops, 8.0) / steps))
            belief[:-1] = np.linalg.matrix_power(motion, steps) @ belief[:-1]
            lost = max(1.0 - math.exp(-passed / sequence.LOST_S), 1.0 - 8.0 / hops)
            belief = (1.0 - lost) * belief + lost * anew
            weight = min(1.0, passed / sequence.INDEPENDENT_S)
        squares, odds, elsewhere = bayes.observe(scores, rows, confidence)
        likelihood = np.full(count + 1, elsewhere)
        likelihood[squares] = odds
        belief *= likelihood**weight
        belief /= belief.sum()
        place = bayes.step(scores, rows, time=time, confidence=confidence)
        placed = np.full(count + 1, bayes.uniform / count)
        placed[-1] = bayes.off_map
        placed[bayes.tracked] += bayes.belief
        np.testing.assert_allclose(placed, belief, rtol=0, atol=1e-12)
        assert place is not None
        assert bayes.cells.of[place.row] == np.argmax(belief[:-1])


def test_one_frame_keeps_its_confidence() -> None:
    """After one frame the belief is the posterior it was given."""
    long = street([30.0 * i for i in range(400)])
    for confidence in (0.2, 0.6, 0.9):
        bayes = SequenceFilter(long, confidence_model=MODEL)
        rows, scores = np.array([3, 80, 120]), np.array([0.8, 0.7, 0.6], np.float32)
        bayes.step(scores, rows, time=0.0, confidence=confidence)
        at = {int(s): float(b) for s, b in zip(bayes.tracked, bayes.belief, strict=True)}
        even = bayes.uniform / len(bayes.cells)
        square = int(bayes.cells.of[3])
        assert at[square] + even == pytest.approx(confidence, abs=1e-9)
        others = [at[int(bayes.cells.of[r])] + even for r in (80, 120)]
        worth = confidence * np.exp(-np.array([0.1, 0.2]) / 0.05)
        share = 0.2 * (1 - confidence) * worth / worth.sum()
        assert others == pytest.approx(np.minimum(share, worth).tolist(), abs=1e-6)


def frames(path: list[int], wrong: dict[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Searches of a drive along places, some of which find another place first."""
    found = []
    for i, place in enumerate(path):
        best = wrong.get(i, place)
        rest = [p for p in (13, 12, 11, 10) if p != best][:3]
        found.append((np.array([0.8, 0.6, 0.59, 0.58], np.float32), np.array([best, *rest])))
    return found


def answers(bayes: SequenceFilter, searches: list, times: list[float]) -> list[int]:
    rows = []
    for (scores, found), time in zip(searches, times, strict=True):
        place = bayes.step(scores, found, time=time, confidence=0.8)
        assert place is not None
        assert 0 <= place.confidence <= 1 + 1e-9
        rows.append(place.row)
    return rows


def test_a_wrong_frame_does_not_move_the_robot() -> None:
    """Place 0 is 180 m from place 6; 2 s of driving at 15 m/s are 30 m."""
    path = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    bayes = SequenceFilter(CROSSING, confidence_model=MODEL)
    placed = answers(bayes, frames(path, {6: 0}), [2.0 * i for i in range(10)])
    assert placed[:6] == path[:6]
    assert placed[6] in (5, 6, 7)
    assert placed[7:] == path[7:]


def test_a_kidnapped_robot_is_found_again() -> None:
    """Carried off after ten frames, believed on the third (measured: the second)."""
    path = [0] * 10 + [13] * 6
    bayes = SequenceFilter(CROSSING, confidence_model=MODEL)
    placed = answers(bayes, frames(path, {}), [2.0 * i for i in range(16)])
    assert placed[:10] == [0] * 10
    assert placed[12:] == [13] * 4


def test_agreement_of_doubtful_frames_is_no_certainty() -> None:
    """The belief in a place that misleads every frame grows (measured 0.89); the confidence stays
    below what the frames' own allow (measured 0.25)."""
    long = street([30.0 * i for i in range(400)])
    bayes = SequenceFilter(long, confidence_model=MODEL)
    scores, rows = np.array([0.8, 0.6], np.float32), np.array([7, 200])
    for second in range(30):
        place = bayes.step(scores, rows, time=float(second), confidence=0.05)
    assert place is not None
    assert place.row == 7
    assert bayes.belief.max() > 0.6
    assert place.confidence == pytest.approx(1 - 0.95 ** (0.5 * 11), abs=1e-6)
    # frames that are sure themselves make it sure
    for second in range(30, 40):
        place = bayes.step(scores, rows, time=float(second), confidence=0.7)
    assert place is not None
    assert place.confidence > 0.9


def test_a_clock_that_goes_back() -> None:
    """It counts as standing still."""
    bayes = SequenceFilter(CROSSING, confidence_model=MODEL)
    placed = answers(bayes, frames([2, 2, 2, 2], {}), [1000.0, 1001.0, 3.0, 4.0])
    assert placed == [2, 2, 2, 2]
    before = bayes.belief.sum() + bayes.uniform + bayes.off_map
    assert before == pytest.approx(1.0)
    # a clock that stands still: the frames still count a little, and the robot stays
    assert answers(bayes, frames([2] * 3, {}), [4.0] * 3) == [2] * 3


def test_maps_without_positions() -> None:
    """Places by id are cells without neighbours."""
    images = ImageTable.build([f"{i}.jpg" for i in range(9)], place=[0, 0, 0, 1, 1, 1, 2, -1, -1])
    cells = cells_of(images, 25.0)
    assert len(cells) == 5
    assert cells.of[0] == cells.of[2] != cells.of[3]
    assert (cells.touching == -1).all()
    bayes = SequenceFilter(images, confidence_model=MODEL)
    scores = np.array([0.8, 0.5], np.float32)
    found = [bayes.step(scores, np.array(r), time=None, confidence=0.8) for r in ([0, 3], [1, 6])]
    assert [images.place[f.row] for f in found if f] == [0, 0]
    assert bayes.step(scores, np.array([-1, -1]), time=None, confidence=0.0) is not None


def test_squares_of_a_map() -> None:
    """They do not depend on the number of photographs, and do not join two zones."""
    many = street([30.0 * (i // 50) for i in range(500)])
    assert len(cells_of(many, 25.0)) == 10
    two = ImageTable.build(
        ["a", "b"], place=[0, 1], easting=[5e5, 5e5], northing=[6e6, 6e6], zone=[32, 33]
    )
    cells = cells_of(two, 25.0)
    assert len(cells) == 2
    assert (cells.touching == -1).all()
    assert (
        SequenceFilter(many).step(np.empty(0, np.float32), np.empty(0, np.int64), time=0.0) is None
    )
    with pytest.raises(UsageError, match="`max_speed`"):
        SequenceFilter(many, max_speed=0.0)


def test_images_taken_out_of_the_map() -> None:
    """No belief on ground whose images were removed, and no answer names one."""
    images = street([0.0, 1.0, 30.0, 60.0])
    cells = cells_of(images, 25.0, np.array([False, True, False, True]))
    assert cells.row.tolist() == [1, 3]
    assert (cells.touching == -1).all()
    assert cells.of[[1, 3]].tolist() == [0, 1]


def test_squares_touch_alike_both_ways() -> None:
    """A uniform belief stays uniform."""
    draw = np.random.default_rng(1)
    cells = cells_of(street(*draw.uniform(0, 400, (2, 300)).tolist()), 25.0)
    flow = np.zeros((len(cells), len(cells)))
    for i in range(8):
        there = cells.touching[:, i] >= 0
        flow[np.flatnonzero(there), cells.touching[there, i]] = cells.share[there, i]
    np.testing.assert_array_equal(flow, flow.T)
    assert (flow.sum(axis=1) <= 1 + 1e-12).all()


def test_run_with_a_wrong_frame(world: World, tmp_path: Path) -> None:
    """The answer is the sequence's; ``top`` stays the frame's own."""
    drive = tmp_path / "drive"
    drive.mkdir()
    for place in range(20):
        cv2.imwrite(str(drive / f"{place:03d}.png"), place_image(35 if place == 12 else place))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "edgevpr", "run", str(drive), "--sequence", "--threads", "1"),
            *("--bundle", str(world.bundle), "--gallery", str(world.gallery)),
            *("--max-speed", "100"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    places = [line["place"] for line in lines]
    assert PLACES > 35
    assert lines[12]["top"][0]["place"] == 35
    assert abs(places[12] - 12) <= 2  # of the places near, one that this frame resembles
    assert sum(p == i for i, p in enumerate(places)) >= 18  # measured 19
