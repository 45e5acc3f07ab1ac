"""Timing of a chain of stages on real inputs: warm-up, every stage, every sample."""

import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import msgspec
import numpy as np

from edgevpr.errors import DataError
from edgevpr.progress import Track, silent

#: The stage that ``end_to_end`` leaves out: a camera hands over decoded frames.
DECODE = "decode"
END_TO_END = "end_to_end"

Stage = tuple[str, Callable[[Any], Any]]


class Percentiles(msgspec.Struct, frozen=True):
    """Percentiles and mean of n samples, in ms."""

    n: int
    mean: float
    p50: float
    p95: float
    p99: float
    max: float


def measure_stages(
    stages: Sequence[Stage],
    inputs: Sequence[Any],
    *,
    warmup: int = 10,
    track: Track = silent,
    description: str = "measuring latency",
    collect: list[Any] | None = None,
) -> dict[str, list[float]]:
    """Pass every input through the stages, one after the other, and time each stage.

    Args:
        stages: (name, callable); each takes what the one before it returned. A callable must
            return when its work is done: a GPU engine synchronizes inside.
        inputs: what the first stage takes, in order.
        warmup: passes that are not timed, over the first inputs, repeated if there are fewer.
        collect: receives the last stage's answer to every input.

    Returns:
        Milliseconds by stage name, and for ``end_to_end`` the wall time of a whole pass without
        the stage called ``decode``; one sample an input.

    Raises:
        DataError: there is nothing to measure.
    """
    if not inputs:
        raise DataError("found no frame to measure, expected at least one: check the images")
    for value in islice(cycle(inputs), warmup):
        for _, stage in stages:
            value = stage(value)
    samples: dict[str, list[float]] = {name: [] for name, _ in stages}
    samples[END_TO_END] = []
    clock = time.perf_counter_ns
    for value in track(inputs, description, len(inputs)):
        begin = clock()
        outside = 0
        for name, stage in stages:
            start = clock()
            value = stage(value)
            spent = clock() - start
            samples[name].append(spent / 1e6)
            if name == DECODE:
                outside += spent
        samples[END_TO_END].append((clock() - begin - outside) / 1e6)
        if collect is not None:
            collect.append(value)
    return samples


def summarize(samples_ms: Sequence[float]) -> Percentiles:
    """Percentiles of a list of samples."""
    values = np.asarray(samples_ms, np.float64)
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return Percentiles(
        n=len(values),
        mean=float(values.mean()),
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        max=float(values.max()),
    )


def format_ms(value: float) -> str:
    """Milliseconds with about three significant digits."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3
    return f"{value:.{digits}f}"
