"""SeqSLAM, the comparison of ``sequence.py``: Milford and Wyeth (ICRA 2012), by the frames so far.

A frame is answered by the map image at whose end a line of constant velocity through the last
``WINDOW_S`` seconds has the highest sum of contrast-enhanced similarities. Without positions the
lines run through the order of the map, as in the paper; with positions over the plane, in 12
directions at speeds up to the limit.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

WINDOW_S = 10.0
#: Rows of the map a frame without positions, forwards and back: the paper's 0.8 to 1.2.
STEPS = np.concatenate([np.arange(-12, -7), np.arange(8, 13)]) / 10.0
SPEEDS = np.array([1.0, 2.0, 3.5, 5.0, 7.5, 10.0, 12.5, 15.0])


def seqslam(
    similar: NDArray[np.float64],
    xy: NDArray[np.float64],
    times: list[float],
    *,
    spacing: float,
    in_metres: bool,
    lag_s: float = 1.0,
) -> list[int]:
    """(F,) map image of each frame.

    Args:
        similar: (F, N) similarities; -inf for images that are not in the map.
        xy: (N, 2) metres or steps of the map (``edgevpr.runtime.sequence_layout``).
        lag_s: times before now are rounded to this, with positions; one frame of each counts.
    """
    kept = np.isfinite(similar[0])
    sharp = contrast(similar, kept)
    velocities = [np.zeros(2)]
    if in_metres:
        for angle in np.arange(12) * np.pi / 6:
            velocities += [speed * np.array([np.cos(angle), np.sin(angle)]) for speed in SPEEDS]
    else:
        velocities = [np.array([step, 0.0]) for step in STEPS]
    rows = np.flatnonzero(kept)
    tree = cKDTree(xy[rows])
    under: dict[float, NDArray[np.int64]] = {}

    def below(lag: float) -> NDArray[np.int64]:
        """(V, N') column of ``sharp`` under each line so long ago; the last where there is none."""
        if lag not in under:
            at = xy[rows][None] - lag * np.array(velocities)[:, None]
            away, nearest = tree.query(at, distance_upper_bound=1.5 * spacing, workers=1)
            under[lag] = np.where(np.isfinite(away), rows[np.minimum(nearest, len(rows) - 1)], -1)
        return under[lag]

    # where a line leaves the map, a frame adds what the average image does: nothing
    padded = np.concatenate([np.nan_to_num(sharp), np.zeros((len(sharp), 1))], axis=1)
    answers = []
    for now, time in enumerate(times):
        seen: dict[float, int] = {}
        for i in range(now, -1, -1):
            passed = time - times[i]
            if passed < 0 or passed > WINDOW_S:
                break
            seen.setdefault(round(passed / lag_s) * lag_s if in_metres else float(now - i), i)
        total = sum(padded[i][below(lag)] for lag, i in seen.items())
        answers.append(int(rows[np.asarray(total).max(axis=0).argmax()]))
    return answers


def contrast(similar: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Similarities less a frame's mean over the map, by their spread. The paper takes both over the
    neighbours in the map alone; with learned descriptors that does far worse (corridor without
    positions: 29 instead of 99)."""
    sharp = np.full(similar.shape, np.nan)
    seen = similar[:, kept]
    sharp[:, kept] = (seen - seen.mean(axis=1, keepdims=True)) / seen.std(axis=1, keepdims=True)
    return sharp
