"""What typer refuses is one sentence too: found, expected, and where to look."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("idnex", "found idnex, expected a verb such as index: run edgevpr --help"),
        ("devices x y", "got unexpected extra argument (y): run edgevpr devices --help"),
        ("index x", "found no --output, expected it: run edgevpr index --help"),
        ("data check", "found no NAME, expected it: run edgevpr data check --help"),
        ("index x -o y --dim 0", "found --dim 0, expected 1 or more: run edgevpr index --help"),
        ("index x -o y --max-recall-drop=101",
         "found --max-recall-drop 101, expected 0 to 100: run edgevpr index --help"),
        ("run x --bundle b --gallery g --backend v4l",
         "found --backend v4l, expected one of auto, opencv, gstreamer: run edgevpr run --help"),
        ("city -o x --seed none",
         "found --seed none, expected an integer: run edgevpr city --help"),
    ],
)  # fmt: skip
def test_refusals_say_found_expected_and_next(words: str, sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgevpr", *words.split()],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"edgevpr: {sentence}\n"


def test_a_misspelt_option_names_near_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgevpr", "devices", "--jsno"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("edgevpr: found --jsno, expected an option of edgevpr devices")
    assert "--json" in done.stderr
