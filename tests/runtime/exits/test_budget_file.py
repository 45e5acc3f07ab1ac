"""Budgets from a file: what is read, what is said, and that nothing waits for it."""

import os
import threading
from pathlib import Path

import pytest

from edgevpr.errors import DataError
from edgevpr.runtime.exits.budget_file import STALE_S, BudgetFile
from edgevpr.runtime.exits.policies import BudgetExit

SHARES = {"L4": 0.41, "L8": 0.72, "full": 1.0}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "level"
    path.write_text("0.5\n")
    return path


def test_a_level_maps_to_the_deepest_exit_within(file: Path) -> None:
    budget = BudgetFile(file, pytest.fail)
    policy = BudgetExit(SHARES, budget)
    for level, exit in (
        ("0", "L4"),
        ("0.4", "L4"),
        ("0.41", "L4"),
        ("0.719", "L4"),
        ("0.72", "L8"),
        (" 1.0\n", "full"),
        ("1", "full"),
    ):
        file.write_text(level)
        budget.poll()
        assert policy.first(0.0) == exit


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"", "holds ''"),
        (b"full", "holds 'full'"),
        (b"nan", "holds 'nan'"),
        (b"1.5", "holds '1.5'"),
        (b"-0.1", "holds '-0.1'"),
        (b"\xff\xfe", "holds"),
        (b"0." + b"5" * 100, "holds"),
    ],
)
def test_nonsense_keeps_the_last_level_and_is_said_once(
    file: Path, content: bytes | None, says: str
) -> None:
    """One bad read is a writer at work; the second in a row is said once, and the return too."""
    lines: list[str] = []
    budget = BudgetFile(file, lines.append)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    budget.poll()
    assert (budget.level(), lines) == (0.5, [])
    for _ in range(5):
        budget.poll()
        assert budget.level() == 0.5
    assert len(lines) == 1
    assert says in lines[0]
    assert "kept the budget at 0.5" in lines[0]
    file.write_text("0.9")
    budget.poll()
    for _ in range(3):
        assert budget.level() == 0.9
    assert lines[1:] == [f"the budget follows {file} again: 0.9"]


def test_no_level_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a number from 0 to 1"):
        BudgetFile(tmp_path / "none", pytest.fail)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes would hold up the start for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="no plain file"):
        BudgetFile(tmp_path / "pipe", pytest.fail)


def test_a_read_that_never_ends_holds_up_nothing(file: Path) -> None:
    """A dead mount: the level stays, the frame goes on, and after a while that is said."""
    lines: list[str] = []
    now = [0.0]
    reading, end = threading.Event(), threading.Event()
    first = [b"0.5"]

    def read(path: Path) -> bytes:
        if first:
            return first.pop()
        reading.set()
        end.wait(20)
        raise OSError(5, "Input/output error")

    budget = BudgetFile(file, lines.append, read=read, clock=lambda: now[0])
    budget.open()
    try:
        assert reading.wait(20)
        assert (budget.level(), lines) == (0.5, [])
        now[0] = STALE_S + 1.0
        assert budget.level() == budget.level() == 0.5
        assert len(lines) == 1
        assert "does not answer" in lines[0]
    finally:
        budget.close()
        end.set()
