"""The sequence filter: wrong frames, gaps, clocks that jump, maps without positions."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgevpr.artifacts.records import ConfidenceModel
from edgevpr.errors import UsageError
from edgevpr.places.table import ImageTable
from edgevpr.runtime.sequence import HELD, SequenceFilter
from edgevpr.runtime.sequence_layout import Layout

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


def test_one_frame_keeps_its_confidence() -> None:
    """After one frame the belief is the calibrated posterior that the frame was made into."""
    long = street([30.0 * i for i in range(400)])
    for confidence in (0.2, 0.6, 0.9):
        made = SequenceFilter(long, confidence_model=MODEL)
        rows, scores = np.array([3, 80, 120]), np.array([0.8, 0.7, 0.6], np.float32)
        made.step(scores, rows, time=0.0, confidence=confidence)
        even = made.even / made.layout.places
        at = {int(r): float(b) for r, b in zip(made.tracks.row, made.tracks.belief, strict=True)}
        assert at[3] == pytest.approx(confidence, abs=0.01)
        worth = confidence * np.exp(-np.array([0.1, 0.2]) / 0.05)
        share = 0.2 * (1 - confidence) * worth / worth.sum()
        wanted = np.maximum(np.minimum(share, worth), even)
        assert [at[80], at[120]] == pytest.approx(wanted.tolist(), abs=2e-3)
        assert sum(at.values()) + made.even + made.off == pytest.approx(1.0)


def frames(path: list[int], wrong: dict[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Searches of a drive along places, some of which find another place first."""
    found = []
    for i, place in enumerate(path):
        best = wrong.get(i, place)
        rest = [p for p in (13, 12, 11, 10) if p != best][:3]
        found.append((np.array([0.8, 0.6, 0.59, 0.58], np.float32), np.array([best, *rest])))
    return found


def answers(made: SequenceFilter, searches: list[Any], times: list[float]) -> list[int]:
    rows = []
    for (scores, found), time in zip(searches, times, strict=True):
        place = made.step(scores, found, time=time, confidence=0.8)
        assert place is not None
        assert 0 <= place.confidence <= 1 + 1e-9
        rows.append(place.row)
    return rows


def test_a_wrong_frame_does_not_move_the_robot() -> None:
    """Place 0 is 180 m from place 6; 2 s of driving at 15 m/s are 30 m."""
    path = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    made = SequenceFilter(CROSSING, confidence_model=MODEL)
    told = answers(made, frames(path, {6: 0}), [2.0 * i for i in range(10)])
    assert told[:6] == path[:6]
    assert told[6] in (5, 6, 7)
    assert told[7:] == path[7:]


def test_a_kidnapped_robot_is_found_again() -> None:
    """Carried off after ten frames, it is believed at the new place from the third on."""
    path = [0] * 10 + [13] * 6
    made = SequenceFilter(CROSSING, confidence_model=MODEL)
    told = answers(made, frames(path, {}), [2.0 * i for i in range(16)])
    assert told[:10] == [0] * 10
    assert told[12:] == [13] * 4


def test_agreement_of_doubtful_frames_is_no_certainty() -> None:
    """The confidence stays below what the frames' own allow, whatever the belief."""
    long = street([30.0 * i for i in range(400)])
    made = SequenceFilter(long, confidence_model=MODEL)
    scores, rows = np.array([0.8, 0.6], np.float32), np.array([7, 200])
    for second in range(30):
        place = made.step(scores, rows, time=float(second), confidence=0.05)
    assert place is not None
    assert place.row == 7
    assert place.confidence <= 1 - 0.95 ** (0.6 * 0.25 * 11) + 1e-6
    # frames that are sure themselves make it surer than each is
    for second in range(30, 40):
        place = made.step(scores, rows, time=float(second), confidence=0.8)
    assert place is not None
    assert place.confidence > 0.85  # measured 0.886


@pytest.mark.parametrize("found", [7, 300])
def test_the_confidence_is_a_pool_of_the_sequence_and_the_frame(found: int) -> None:
    """Against the formula: log odds 70 to 30 of the sequence and of the frame itself, which finds
    the place (7) or another one (300) last."""
    long = street([30.0 * i for i in range(400)])
    made = SequenceFilter(long, confidence_model=MODEL)
    rows, scores = np.array([7, 200]), np.array([0.8, 0.6], np.float32)
    told = [0.3, 0.5, 0.4, 0.6]
    for second, confidence in enumerate(told):
        made.step(scores, rows, time=4.0 * second, confidence=confidence)
    last = made.step(scores, np.array([found, 200]), time=16.0, confidence=0.2)
    assert last is not None
    assert last.row == 7
    belief = float(made.tracks.belief[made.tracks.row == 7].sum())
    # of the last 10 s, at full weight each
    spoken = [*told[2:], *([0.2] if found == 7 else [])]
    sequence = min(belief, 1.0 - float(np.prod(1.0 - np.array(spoken)) ** 0.6))
    own = 0.2 if found == 7 else 0.8 * MODEL.runners_up
    odds = 0.7 * np.log(sequence / (1 - sequence)) + 0.3 * np.log(own / (1 - own))
    assert last.confidence == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-9)


def test_a_clock_that_goes_back_or_jumps_restarts_the_belief() -> None:
    made = SequenceFilter(CROSSING, confidence_model=MODEL)
    told = answers(made, frames([2, 2, 2, 2], {}), [1000.0, 1001.0, 3.0, 4.0])
    assert told == [2, 2, 2, 2]
    total = made.tracks.belief.sum() + made.even + made.off
    assert total == pytest.approx(1.0)
    # a clock that stands still: the frames still count a little, and the robot stays
    assert answers(made, frames([2] * 3, {}), [4.0] * 3) == [2] * 3
    for jump in (3.0, 4000.0):
        again = SequenceFilter(CROSSING, confidence_model=MODEL)
        scores, rows = frames([9], {})[0]
        fresh = again.step(scores, rows, time=0.0, confidence=0.8)
        assert made.step(scores, rows, time=jump, confidence=0.8) == fresh


def test_maps_without_positions_are_laid_out_by_their_order() -> None:
    """Rows of one place id that follow each other are one step; unknown ids are one each."""
    images = ImageTable.build([f"{i}.jpg" for i in range(9)], place=[0, 0, 0, 1, 1, 1, 2, -1, -1])
    layout = Layout.of(images)
    assert not layout.in_metres
    assert layout.xy[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 4]
    made = SequenceFilter(images, confidence_model=MODEL)
    scores = np.array([0.8, 0.5], np.float32)
    found = [made.step(scores, np.array(r), time=None, confidence=0.8) for r in ([0, 3], [1, 6])]
    assert [images.place[f.row] for f in found if f] == [0, 0]
    assert made.step(scores, np.array([-1, -1]), time=None, confidence=0.0) is not None


def test_a_map_with_positions_for_some_images_is_refused() -> None:
    images = ImageTable.build(
        ["a", "b"], easting=[5e5, np.nan], northing=[6e6, np.nan], zone=[33, 0]
    )
    with pytest.raises(UsageError, match="found 1 of 2 images of the map without a position"):
        SequenceFilter(images)
    # removed images do not count
    assert SequenceFilter(images, kept=np.array([True, False])).layout.in_metres


def test_spacing_is_that_of_places_not_of_images() -> None:
    many = street([30.0 * (i // 50) for i in range(500)])
    many.place[:] = np.arange(500) // 50
    assert Layout.of(many).spacing == pytest.approx(30.0)
    assert Layout.of(many).places == 10
    kept = np.zeros(500, bool)
    kept[::100] = True  # every second place
    assert Layout.of(many, kept).spacing == pytest.approx(60.0)


def test_two_utm_zones_are_far_apart() -> None:
    two = ImageTable.build(
        ["a", "b"], place=[0, 1], easting=[5e5, 5e5], northing=[6e6, 6e6], zone=[32, 33]
    )
    layout = Layout.of(two)
    assert abs(layout.xy[1, 0] - layout.xy[0, 0]) > 1e6
    assert layout.places == 2


def test_nothing_found_is_no_answer() -> None:
    made = SequenceFilter(CROSSING)
    assert made.step(np.empty(0, np.float32), np.empty(0, np.int64), time=0.0) is None


def test_a_speed_that_is_not_above_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="`max_speed`"):
        SequenceFilter(CROSSING, max_speed=0.0)


def test_an_uncertain_belief_leaves_the_answer_to_the_frame() -> None:
    """Frames that find another place each time: every answer is the frame's own best image."""
    long = street([30.0 * i for i in range(400)])
    made = SequenceFilter(long)
    draw = np.random.default_rng(3)
    for second in range(20):
        rows = draw.permutation(400)[:20]
        scores = np.sort(draw.uniform(0.5, 0.6, 20))[::-1].astype(np.float32)
        place = made.step(scores, rows, time=4.0 * second)
        assert place is not None
        if made.tracks.belief.max() < HELD / 4:
            assert place.row == rows[0]


def test_run_with_a_wrong_frame(world: World, tmp_path: Path) -> None:
    """The answer is of the sequence; ``top`` stays what the frame itself shows."""
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
