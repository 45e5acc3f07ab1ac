"""Parameter names in messages become the flags of the verb that runs."""

import subprocess
import sys

import pytest

from edgevpr.cli import console
from edgevpr.cli.spelling import names_of, spell, spelling_of
from edgevpr.cli.verbs import load
from edgevpr.errors import UsageError


def test_names_of_a_verb() -> None:
    names = names_of(load("index"))
    assert names["features"] == "FEATURES"
    assert names["radius_m"] == "--radius"
    assert names["output"] == "--output"
    assert names["json"] == "--json"


@pytest.mark.parametrize(
    ("message", "spelt"),
    [
        ("found `dim` 0, expected 1 or more: pass `dim` 256", "found --dim 0, expected 1 or more: "
         "pass --dim 256"),
        ("found `radius_m` 0, expected metres", "found --radius 0, expected metres"),
        ("found `features` of 8 dimensions", "found FEATURES of 8 dimensions"),
        ("found `out` there, choose another", "found --output there, choose another"),
        ("found `not_an_option` 1", "found --not-an-option 1"),
        ("run edgevpr index FEATURES --queries QUERIES",
         "run edgevpr index FEATURES --queries QUERIES"),
    ],
)  # fmt: skip
def test_messages_name_flags(message: str, spelt: str) -> None:
    with spelling_of(load("index")):
        assert spell(message) == spelt


def test_an_error_that_leaves_the_verb_names_its_flags() -> None:
    with (
        pytest.raises(UsageError, match=r"^found --radius -1, expected more$"),
        spelling_of(load("index")),
    ):
        raise UsageError("found `radius_m` -1, expected more")


def test_remarks_name_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with spelling_of(load("index")):
        console.note("`max_minutes` 5 reached")
    assert capsys.readouterr().err == "--max-minutes 5 reached\n"


def test_verbs_inside_a_verb_keep_their_own_spelling() -> None:
    """The demo runs the other verbs in its own process."""
    with spelling_of(load("index")):
        with spelling_of(load("devices")):
            assert spell("`features`") == "--features"
        assert spell("`features`") == "FEATURES"


def test_the_command_line_prints_flags() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgevpr", "index", "f", "-o", "g", "--known-precision", "0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("edgevpr: found --known-precision 0, expected a percentage")
    assert "`" not in done.stderr
