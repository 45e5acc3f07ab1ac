"""Timing loop: warm up, take turns until rounds or budget are used up, keep every sample."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgevpr.progress import Track, silent

#: Rounds that are timed whatever the budget, so that a percentile has something to stand on.
LEAST_ROUNDS = 5


def time_turns(
    calls: Mapping[str, Callable[[int], object]],
    *,
    rounds: int,
    warm_up: int = 10,
    budget_s: float = math.inf,
    track: Track = silent,
    description: str = "timing",
) -> dict[str, list[float]]:
    """Milliseconds of each call in each round; in a round the calls follow each other in order.

    Calls that take turns share whatever else the machine does meanwhile.

    Args:
        calls: name -> callable that returns when its work is done; takes the number of the round,
            which starts at 0 for the warm-up and again for the rounds that count.
        rounds: the most that count.
        warm_up: rounds before those, not timed.
        budget_s: seconds, warm-up included, after which no further round starts; at least
            ``LEAST_ROUNDS`` are timed.
    """
    clock = time.perf_counter_ns
    started = clock()
    for i in range(warm_up):
        for call in calls.values():
            call(i)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for i in track(range(rounds), description, rounds):
        if i >= LEAST_ROUNDS and clock() - started > budget_s * 1e9:
            break
        for name, call in calls.items():
            begin = clock()
            call(i)
            samples[name].append((clock() - begin) / 1e6)
    return samples


def percentiles(samples_ms: Sequence[float], *ranks: float) -> tuple[float, ...]:
    """Percentiles of samples in milliseconds, to a tenth of a microsecond."""
    return tuple(round(float(value), 4) for value in np.percentile(samples_ms, ranks))
