"""Policies of exits, on simulated boards: what they pick, how soon they follow, what they miss."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from edgevpr.runtime.exits.decaying import MEMORY, DecayingHistogram
from edgevpr.runtime.exits.exit_times import RETRY, ExitTimes
from edgevpr.runtime.exits.policies import ConfidentExit, DeadlineExit, FixedExit, Policy

EXITS = ("L4", "L8", "full")
MS = {"L4": 10.0, "L8": 20.0, "full": 30.0}
SEARCH_MS, PREPROCESS_MS = 2.0, 1.0


@dataclass
class Board:
    """Frames through a policy, on a clock of its own.

    Args:
        slowed: frame -> factor on the times of all exits.
        sure: frame -> confidence of its first answer.
    """

    policy: Policy
    slowed: Callable[[int], float] = lambda frame: 1.0
    sure: Callable[[int], float] = lambda frame: 1.0
    jitter: float = 0.02
    age_ms: float = 0.0
    exits: list[str] = field(default_factory=list)
    ages_ms: list[float] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._noise = np.random.default_rng(0)
        for way in self.policy.ways():
            known = MS[way[0]] if len(way) > 1 else 0.0
            spent = (MS[way[-1]] - known) * self.slowed(0)
            self.policy.warmed_up(way, [spent * f for f in (0.98, 1.0, 1.02)])

    def run(self, count: int) -> "Board":
        for frame in range(len(self.exits), len(self.exits) + count):
            factor = self.slowed(frame) * (1.0 + self.jitter * float(self._noise.standard_normal()))
            age = self.age_ms + PREPROCESS_MS
            before, exit, attempts = "", self.policy.first(age), 0
            while True:
                spent = (MS[exit] - (MS[before] if before else 0.0)) * factor
                age += spent + SEARCH_MS
                attempts += 1
                self.policy.took(before, exit, spent, SEARCH_MS)
                deeper = self.policy.deeper(exit, self.sure(frame), age)
                if deeper is None:
                    break
                before, exit = exit, deeper
            self.exits.append(exit)
            self.ages_ms.append(age)
            self.attempts.append(attempts)
        return self

    def late(self) -> np.ndarray:
        return np.array([bool(self.policy.late(age)) for age in self.ages_ms])


def test_a_fixed_exit() -> None:
    policy = FixedExit("L8")
    assert policy.first(1e9) == "L8"
    assert policy.deeper("L8", 0.0, 0.0) is None
    assert policy.late(1e9) is None


@pytest.mark.parametrize(
    ("deadline", "exit"), [(14.0, "L4"), (25.0, "L8"), (36.0, "full"), (500.0, "full")]
)
def test_the_deepest_exit_in_time(deadline: float, exit: str) -> None:
    """Preprocessing and search count: 3 ms more than the exit takes."""
    board = Board(DeadlineExit(EXITS, deadline)).run(60)
    assert set(board.exits[5:]) == {exit}
    assert not board.late().any()


def test_the_age_of_a_frame_counts() -> None:
    """A frame that has waited 12 ms for the engine has so much less left."""
    assert Board(DeadlineExit(EXITS, 36.0), age_ms=12.0).run(30).exits[-1] == "L8"


def test_below_the_first_exit() -> None:
    """It runs all the same, and every answer is late."""
    board = Board(DeadlineExit(EXITS, 8.0)).run(40)
    assert set(board.exits) == {"L4"}
    assert board.late().all()


def test_a_load_that_comes_is_followed_within_a_few_frames() -> None:
    """Everything takes twice as long from frame 200 on: after two slow frames the exits that are
    too slow now are left at once, without trying each of them."""
    board = Board(DeadlineExit(EXITS, 40.0), slowed=lambda f: 2.0 if f >= 200 else 1.0).run(600)
    assert set(board.exits[50:200]) == {"full"}
    assert set(board.exits[205:]) == {"L4"}
    assert board.late().sum() <= 2


def test_a_load_that_goes_is_noticed() -> None:
    """The board was slow for 400 frames; what was too slow then is tried again once the exit that
    runs says that it would do."""
    board = Board(DeadlineExit(EXITS, 40.0), slowed=lambda f: 2.0 if 200 <= f < 600 else 1.0).run(
        1000
    )
    assert set(board.exits[210:600]) == {"L4"}
    assert set(board.exits[600 + 4 * MEMORY :]) == {"full"}
    assert board.late().sum() <= 3


def test_one_slow_frame_changes_nothing() -> None:
    """A single hiccup in 30 frames is within five percent of them: no change of exit."""
    board = Board(DeadlineExit(EXITS, 40.0), slowed=lambda f: 3.0 if f == 100 else 1.0).run(200)
    assert set(board.exits[50:]) == {"full"}
    assert board.late().sum() == 1


def test_retries_that_fail_get_rarer() -> None:
    """The deepest exit alone has become slow, which the others cannot tell: it is retried less and
    less often, so that it misses less than one percent of 4,000 deadlines."""
    policy = DeadlineExit(EXITS, 40.0)
    times: list[int] = []
    rng = np.random.default_rng(1)
    late = 0
    for way in policy.ways():
        policy.warmed_up(way, [MS[way[-1]]] * 3)
    for frame in range(4000):
        exit = policy.first(PREPROCESS_MS)
        spent = MS[exit] * (3.0 if exit == "full" else 1.0) * (1 + 0.02 * rng.standard_normal())
        policy.took("", exit, spent, SEARCH_MS)
        if exit == "full":
            times.append(frame)
        late += bool(policy.late(PREPROCESS_MS + spent + SEARCH_MS))
    gaps = np.diff(times[-5:])
    assert (gaps[1:] > 1.5 * gaps[:-1]).all(), times
    assert late < 40


@pytest.mark.parametrize("seed", range(8))
def test_never_a_worse_choice_than_a_fixed_exit(seed: int) -> None:
    """On boards whose load changes at random the adaptive policy is late less often than every
    fixed exit that is late for more than one frame in a hundred, or as rarely and deeper."""
    random = np.random.default_rng(seed)
    factors = np.repeat(random.choice([0.7, 1.0, 1.5, 2.5], 8), 150)
    deadline = float(random.uniform(20, 60))
    board = Board(DeadlineExit(EXITS, deadline), slowed=lambda f: float(factors[f])).run(1200)
    late = board.late().mean()
    for exit in EXITS:
        fixed = factors * MS[exit] + PREPROCESS_MS + SEARCH_MS > deadline
        if fixed.mean() > 0.01 and exit != EXITS[0]:
            assert late <= fixed.mean()


def test_times_before_any_are_known() -> None:
    """Without seeds and a warm-up nothing is known; with seeds, what the bundle was measured at."""
    assert ExitTimes(EXITS).p95_ms("L8") == float("inf")
    assert DeadlineExit(EXITS, 40.0).first(0.0) == "L4"
    seeds = {exit: (ms, 1.2 * ms) for exit, ms in MS.items()}
    seeded = ExitTimes(EXITS, seeds)
    assert seeded.p95_ms("L8") == pytest.approx(24.0, rel=0.04)
    assert DeadlineExit(EXITS, 40.0, seeds).first(0.0) == "full"
    assert DeadlineExit(EXITS, 35.0, seeds).first(0.0) == "L8"


def test_percentiles_of_the_histogram() -> None:
    """Against the weighted percentile computed directly, within a bin of 3 %."""
    random = np.random.default_rng(3)
    samples = random.lognormal(3.0, 0.4, 200)
    histogram = DecayingHistogram()
    for each in samples:
        histogram.add(float(each))
    weights = np.exp(-np.arange(200)[::-1] / MEMORY)
    order = np.argsort(samples)
    share = np.cumsum(weights[order]) / weights.sum()
    for percent in (50, 95):
        exact = samples[order][np.searchsorted(share, percent / 100)]
        found = histogram.percentile(percent)
        assert found is not None
        assert exact <= found * (1 + 1e-9)
        assert found <= exact * 1.031


@pytest.mark.parametrize("ms", [0.0, -1.0, 1e-9, 1e12, float("nan"), float("inf")])
def test_times_that_no_bin_was_made_for(ms: float) -> None:
    """A clock that stands still or a suspended machine breaks nothing."""
    histogram = DecayingHistogram()
    histogram.add(ms)
    assert histogram.percentile(95) is not None


def test_a_sure_answer_stands() -> None:
    board = Board(ConfidentExit(EXITS, 0.9), sure=lambda f: 0.95).run(20)
    assert set(board.exits) == {"L4"}
    assert set(board.attempts) == {1}


def test_an_unsure_answer_goes_on_once() -> None:
    """Two attempts, and no more, even if the second is no surer."""
    board = Board(ConfidentExit(EXITS, 0.9), sure=lambda f: 0.95 if f % 2 else 0.2).run(20)
    assert board.exits == ["full", "L4"] * 10
    assert board.attempts == [2, 1] * 10
    assert board.policy.late(1e9) is None


def test_no_confidence_is_unsure() -> None:
    assert ConfidentExit(EXITS, 0.9).deeper("L4", None, 0.0) == "full"


@pytest.mark.parametrize(("deadline", "exit"), [(20.0, "L4"), (30.0, "L8"), (42.0, "full")])
def test_going_on_keeps_the_deadline(deadline: float, exit: str) -> None:
    """The deepest exit that is in time after what the first attempt took; none: the first stands.
    Going on from L4 takes 10 ms to L8 and 20 ms to the end, and a second search."""
    board = Board(ConfidentExit(EXITS, 0.9, deadline), sure=lambda f: 0.0).run(60)
    assert set(board.exits[5:]) == {exit}
    assert not board.late().any()


def test_going_on_is_taken_up_again_after_a_load() -> None:
    """While the board is slow the first answers stand; afterwards it goes on again, although
    nothing deeper ran in between."""
    board = Board(
        ConfidentExit(EXITS, 0.9, 42.0),
        slowed=lambda f: 3.0 if 100 <= f < 300 else 1.0,
        sure=lambda f: 0.0,
    ).run(700)
    assert set(board.exits[110:300]) == {"L4"}
    assert set(board.exits[300 + 4 * MEMORY :]) == {"full"}
    assert board.late().sum() <= 3


def test_a_retry_waits() -> None:
    """Not before ``RETRY`` frames after its last run."""
    times = ExitTimes(EXITS)
    for exit in EXITS:
        times.warmed_up(exit, [MS[exit]])
    times.add("full", 90.0)
    for _ in range(RETRY - 1):
        times.add("L4", 10.0)
        assert not times.retry_is_due("full")
    times.add("L4", 10.0)
    assert times.retry_is_due("full")
    times.retried("full", False)
    assert not times.retry_is_due("full")
