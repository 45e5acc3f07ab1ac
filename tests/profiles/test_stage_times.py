"""Timing of stages: samples kept, decoding left out, percentiles."""

from collections.abc import Callable

import pytest

from edgevpr import timing
from edgevpr.errors import DataError
from edgevpr.profiles.stage_times import measure_stages, summarize


class Clock:
    """A clock that only stages advance, in ms."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def perf_counter_ns(self) -> int:
        return int(self.now_ms * 1e6)

    def stage(self, ms: float) -> Callable[[object], object]:
        def work(value: object) -> object:
            self.now_ms += ms
            return value

        return work


def test_every_input_passes_through_every_stage() -> None:
    """Samples are those of the timed passes, not of the warm-up."""
    seen: list[int] = []
    answers: list[int] = []

    def first(x: int) -> int:
        seen.append(x)
        return x + 1

    samples = measure_stages(
        [("a", first), ("b", lambda x: x * 10)], [1, 2, 3], warmup=4, collect=answers
    )
    assert answers == [20, 30, 40]
    assert seen == [1, 2, 3, 1, 1, 2, 3]
    assert {name: len(values) for name, values in samples.items()} == {
        "a": 3, "b": 3, "end_to_end": 3,
    }  # fmt: skip


def test_end_to_end_leaves_decoding_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the sum of all other stages."""
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    stages = {"decode": 4.0, "preprocess": 0.5, "engine": 10.0, "search": 0.25}
    samples = measure_stages(
        [(name, clock.stage(ms)) for name, ms in stages.items()], [0] * 5, warmup=1
    )
    assert {name: values[0] for name, values in samples.items()} == {
        **stages, "end_to_end": 10.75,
    }  # fmt: skip


def test_no_input_is_refused() -> None:
    with pytest.raises(DataError, match="no frame"):
        measure_stages([("a", lambda x: x)], [])


def test_percentiles_of_known_samples() -> None:
    s = summarize([float(x) for x in range(1, 101)])
    assert (s.n, s.mean, s.p50, s.max) == (100, 50.5, 50.5, 100.0)
    assert s.p50 < s.p95 < s.p99 < s.max
