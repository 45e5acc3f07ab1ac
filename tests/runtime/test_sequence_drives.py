"""The sequence filter beside single frames: drives drawn from a seed, and the corridor."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgevpr.places.table import ImageTable
from edgevpr.runtime.sequence import SequenceFilter

PLACES = 150


def line(spacing: float | None, count: int = PLACES) -> ImageTable:
    """Places along a line, ``spacing`` metres apart; None: without positions."""
    paths, place = [f"{i}.jpg" for i in range(count)], np.arange(count)
    if spacing is None:
        return ImageTable.build(paths, place=place)
    return ImageTable.build(
        paths,
        place=place,
        easting=5e5 + spacing * place,
        northing=np.full(count, 6e6),
        zone=np.full(count, 33),
        letter=["U"] * count,
    ).with_positions()


@dataclass(frozen=True)
class Drive:
    """(F, N) similarities to the images of the map, and each frame's true image (-1: none)."""

    similarities: NDArray[np.float64]
    truth: NDArray[np.int64]


def drive(path: Iterable[float], seed: int, noise: float = 0.36) -> Drive:
    """Noisy descriptors of a drive along ``path``, in places; beside the map frames show other
    ground. Descriptors of places next to each other resemble each other."""
    draw = np.random.default_rng(seed)
    ground = draw.normal(size=(3 * PLACES, 24))
    ground[1:] += 0.5 * ground[:-1]
    ground /= np.linalg.norm(ground, axis=1, keepdims=True)
    at = np.round(np.array(list(path))).astype(int)
    seen = ground[at + PLACES] + draw.normal(0.0, noise, (len(at), 24))
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    truth = np.where((at >= 0) & (at < PLACES), at, -1)
    return Drive(seen @ ground[PLACES : 2 * PLACES].T, truth)


def recall(
    images: ImageTable, frames: Drive, times: Iterable[float | None], off: int = 2
) -> tuple[float, float]:
    """R@1 in percent of frames on the map, by single frames and by the sequence: within ``off``
    places of the truth."""
    made = SequenceFilter(images)
    single, sequence = [], []
    for similar, truth, time in zip(frames.similarities, frames.truth, times, strict=True):
        rows = np.argsort(-similar, kind="stable")[:20]
        place = made.step(similar[rows].astype(np.float32), rows, time=time)
        assert place is not None
        if truth >= 0:
            single.append(abs(int(rows[0]) - truth) <= off)
            sequence.append(abs(place.row - truth) <= off)
    return 100.0 * float(np.mean(single)), 100.0 * float(np.mean(sequence))


SEEDS = range(4)


def mean_recall(
    images: ImageTable, path: Iterable[float], times: Iterable[float | None], off: int = 2
) -> tuple[float, float]:
    path, times = list(path), list(times)
    pairs = [recall(images, drive(path, seed), times, off) for seed in SEEDS]
    single, sequence = np.mean(pairs, axis=0)
    print(f"single {single:.1f}, sequence {sequence:.1f}")
    return float(single), float(sequence)


@pytest.mark.parametrize("speed", [2.0, 5.0, 10.0, 15.0])
def test_steady_motion_up_to_the_speed_limit(speed: float) -> None:
    """Places 5 m apart, a frame at each: better than single frames by ten points or more."""
    single, sequence = mean_recall(
        line(5.0), range(PLACES), (5.0 / speed * i for i in range(PLACES))
    )
    assert sequence >= single + 10


def test_steady_motion_at_the_limit_one_frame_a_second() -> None:
    single, sequence = mean_recall(line(15.0), range(PLACES), map(float, range(PLACES)))
    assert sequence >= single + 10


@pytest.mark.parametrize("step", [1, 2, -1])
def test_maps_without_positions_are_followed_by_their_order(step: int) -> None:
    """One row a frame, every second row, and against the order of the map."""
    path = list(range(PLACES))[::step]
    single, sequence = mean_recall(line(None), path, [None] * len(path))
    assert sequence >= single + 8


def test_the_rate_of_frames_is_no_speed_without_positions() -> None:
    single, sequence = mean_recall(line(None), range(PLACES), (0.1 * i for i in range(PLACES)))
    assert sequence >= single + 8


def test_a_map_in_no_order_loses_nothing() -> None:
    """Rows shuffled: nothing to follow, so the answers stay those of single frames."""
    shuffled = np.random.default_rng(9).permutation(PLACES)
    pairs = []
    for seed in SEEDS:
        frames = drive(range(PLACES), seed)
        mixed = Drive(frames.similarities[:, shuffled], np.argsort(shuffled)[frames.truth])
        pairs.append(recall(line(None), mixed, [None] * PLACES, off=0))
    single, sequence = np.mean(pairs, axis=0)
    assert sequence >= single - 1.5


@pytest.mark.parametrize("spacing", [5.0, None])
def test_a_drive_two_thirds_off_the_map(spacing: float | None) -> None:
    """On the map only in the middle third of the frames."""
    path = [*range(-PLACES, 0), *range(PLACES), *range(PLACES, 2 * PLACES)]
    single, sequence = mean_recall(line(spacing), path, map(float, range(len(path))))
    assert sequence >= single


def test_reversed_direction() -> None:
    """To the end of the map and back."""
    path = [*range(PLACES), *range(PLACES - 1, -1, -1)]
    single, sequence = mean_recall(line(10.0), path, map(float, range(len(path))))
    assert sequence >= single + 10


def test_gaps_in_time_and_dropped_frames() -> None:
    """Half of the frames are dropped, and twice the camera is silent for 8 s of driving."""
    kept = np.random.default_rng(2).random(PLACES) < 0.5
    kept[40:48] = kept[100:108] = False
    path = np.flatnonzero(kept)
    single, sequence = mean_recall(line(10.0), path, path.astype(float))
    assert sequence >= single + 5


def test_a_clock_that_starts_again_loses_nothing() -> None:
    """A second drive from the other end, its clock from zero."""
    path = [*range(75), *range(149, 74, -1)]
    times = [*map(float, range(75)), *map(float, range(75))]
    single, sequence = mean_recall(line(10.0), path, times)
    assert sequence >= single + 5


def thumbnails(folder: Path) -> NDArray[np.float64]:
    """(N, 192) grey thumbnails of the images in a folder, their mean taken off, of unit length."""
    found = []
    for path in sorted(folder.glob("*.jpg")):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        small = cv2.resize(image, (16, 12), interpolation=cv2.INTER_AREA).astype(float).ravel()
        small -= small.mean()
        found.append(small / np.linalg.norm(small))
    return np.array(found)


@pytest.mark.parametrize("spacing", [2.0, 5.0, 10.0, None])
def test_the_corridor(shared: Path, spacing: float | None) -> None:
    """Real frames under a weak descriptor (16 x 12 pixels), one a second: measured 27.0 % by
    single frames and 29.7 to 36.9 % by the sequence."""
    corridor = shared / "data" / "corridor"
    reference, query = thumbnails(corridor / "ref"), thumbnails(corridor / "query")
    count = len(reference)
    frames = Drive(query @ reference.T, np.arange(count))
    single, sequence = recall(line(spacing, count), frames, map(float, range(count)))
    assert sequence >= single
