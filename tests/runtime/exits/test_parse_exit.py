"""Texts of an `exit`."""

from pathlib import Path

import pytest

from edgevpr.errors import UsageError
from edgevpr.runtime.exits.parse_exit import ExitChoice, parse_exit


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("full", ExitChoice(name="full")),
        ("2.1", ExitChoice(name="2.1")),
        ("deadline:33.3", ExitChoice(deadline_ms=33.3)),
        ("confidence:0.9", ExitChoice(confidence=0.9)),
        ("confidence:0,50", ExitChoice(confidence=0.0, deadline_ms=50.0)),
        ("budget:/run/a:b,c", ExitChoice(budget=Path("/run/a:b,c"))),
    ],
)
def test_choices(text: str, choice: ExitChoice) -> None:
    assert parse_exit(text) == choice


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "deadline:", "deadline:x", "deadline:0", "deadline:-1", "deadline:inf"),
        *("deadline:nan", "confidence:", "confidence:1.1", "confidence:nan", "confidence:0.9,"),
        *("confidence:0.9,0", "confidence:0.9,5,6", "budget:", "power:5", ":L4"),
    ],
)
def test_what_is_none(text: str) -> None:
    """One sentence that names `exit` and a value that would do."""
    with pytest.raises(UsageError, match=r"found `exit` .*: pass `exit` \w") as caught:
        parse_exit(text)
    assert "\n" not in str(caught.value)
