"""The timing loop: what is counted, in which order, and when it ends."""

import pytest

from edgevpr import timing
from edgevpr.timing import LEAST_ROUNDS, percentiles, time_turns


class Clock:
    """A clock in milliseconds that only calls advance."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def perf_counter_ns(self) -> int:
        return int(self.now_ms * 1e6)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_calls_take_turns_and_warm_up_rounds_are_not_kept(clock: Clock) -> None:
    order: list[tuple[str, int]] = []

    def call(name: str, ms: float, i: int) -> None:
        order.append((name, i))
        clock.now_ms += ms

    samples = time_turns(
        {"a": lambda i: call("a", 2.0, i), "b": lambda i: call("b", 0.5, i)}, rounds=3, warm_up=2
    )
    assert samples == {"a": [2.0] * 3, "b": [0.5] * 3}
    rounds = [0, 1, 0, 1, 2]
    assert order == [(name, i) for i in rounds for name in "ab"]


def test_the_budget_ends_it_after_the_least_rounds(clock: Clock) -> None:
    def second(_: int) -> None:
        clock.now_ms += 1000

    assert len(time_turns({"a": second}, rounds=100, budget_s=0.1)["a"]) == LEAST_ROUNDS
    assert len(time_turns({"a": second}, rounds=100, warm_up=2, budget_s=8.5)["a"]) == 7
    assert len(time_turns({"a": second}, rounds=3, budget_s=0.1)["a"]) == 3


def test_percentiles_are_of_the_right_side() -> None:
    assert percentiles([float(x) for x in range(1, 101)], 50, 95) == (50.5, 95.05)
