"""Random streams, noise and angles with the same bits everywhere."""

import math

import numpy as np

from edgevpr.city.exact_math import Dice, fractal_tile, sincos, toss


def test_sincos_agrees_with_the_c_library() -> None:
    for degrees in np.arange(-720, 720, 3.7):
        sine, cosine = sincos(float(degrees))
        assert abs(sine - math.sin(math.radians(degrees))) < 1e-12
        assert abs(cosine - math.cos(math.radians(degrees))) < 1e-12


def test_named_streams_are_pinned() -> None:
    """Another seeding of the streams would redraw every city."""
    assert [Dice(0, "a", 1).random() for _ in range(2)] == [Dice(0, "a", 1).random()] * 2
    assert Dice(0, "a").random() != Dice(0, "b").random()
    assert f"{Dice(3, 'house', 7).random():.12f}" == "0.898411566135"
    assert f"{toss(3, 1, 4):.12f}" == "0.473278164858"


def test_toss_is_uniform_over_neighbours() -> None:
    """Neighbouring numbers are unlike, or parking places would fill in stripes."""
    values = [toss(5, 1, 0, slot, side) for slot in range(-400, 400) for side in (-1, 1)]
    assert 0.45 < np.mean(values) < 0.55
    assert abs(np.corrcoef(values[:-2], values[2:])[0, 1]) < 0.1


def test_noise_is_periodic() -> None:
    """Tiled textures have no seam."""
    tile = fractal_tile(256, 31)
    step = np.abs(np.diff(tile, axis=0)).max()
    assert np.abs(tile[0] - tile[-1]).max() <= 1.5 * step
    assert tile.min() >= 0
    assert tile.max() < 1
