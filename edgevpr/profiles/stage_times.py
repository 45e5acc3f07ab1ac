"""Latency of a chain of stages on real inputs, stage by stage."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from edgevpr.errors import DataError
from edgevpr.progress import Track, silent
from edgevpr.timing import time_turns

#: The stage that ``end_to_end`` leaves out: a camera hands over decoded frames.
DECODE = "decode"
END_TO_END = "end_to_end"

Stage = tuple[str, Callable[[Any], Any]]


class Summary(msgspec.Struct, frozen=True):
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
        Milliseconds by stage name, and for ``end_to_end`` their sum without the stage called
        ``decode``; one sample an input.

    Raises:
        DataError: there is nothing to measure.
    """
    if not inputs:
        raise DataError("found no frame to measure, expected at least one: check the images")
    value: Any = None
    answers: list[Any] = []

    def run(k: int, i: int) -> None:
        nonlocal value
        value = stages[k][1](value if k else inputs[i % len(inputs)])
        if k == len(stages) - 1:
            answers.append(value)

    samples = time_turns(
        {name: functools.partial(run, k) for k, (name, _) in enumerate(stages)},
        rounds=len(inputs),
        warm_up=warmup,
        track=track,
        description=description,
    )
    counted = [times for name, times in samples.items() if name != DECODE]
    samples[END_TO_END] = [sum(spent) for spent in zip(*counted, strict=True)]
    if collect is not None:
        collect.extend(answers[warmup:])
    return samples


def summarize(samples_ms: Sequence[float]) -> Summary:
    """Percentiles of a list of samples."""
    values = np.asarray(samples_ms, np.float64)
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return Summary(
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
