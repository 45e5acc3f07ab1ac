"""The table of verbs, and that a verb's module loads only when it is called."""

import os
import subprocess
import sys

import pytest

from edgevpr.cli.verbs import VERBS, load


@pytest.mark.parametrize("verb", VERBS)
def test_the_table_says_what_the_verb_says(verb: str) -> None:
    command = load(verb)
    assert command.name == verb
    assert VERBS[verb] == command.help.strip().splitlines()[0]


@pytest.mark.parametrize(
    ("words", "loaded"),
    [
        (["--help"], []),
        (["--version"], []),
        (["devices", "--help"], ["edgevpr.cli.devices"]),
        (["train", "--help"], ["edgevpr.cli.train"]),
    ],
)
def test_only_the_verb_that_is_called_is_imported(words: list[str], loaded: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["edgevpr", *{words!r}]
from edgevpr.cli.main import main
try:
    main()
except SystemExit:
    pass
verbs = {[f"edgevpr.cli.{verb}" for verb in VERBS]!r}
print(*[name for name in verbs if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == loaded


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("edgevpr de", {"demo", "devices"}),
        ("edgevpr gallery co", {"compact"}),
        ("edgevpr compile --cal", {"--calibration", "--calibrator"}),
    ],
)
def test_shells_complete_verbs_and_their_options(typed: str, offered: set[str]) -> None:
    words = typed.split(" ")
    code = "import sys; sys.argv = ['edgevpr']; from edgevpr.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | {
            "_EDGEVPR_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(words) - 1),
            "_TYPER_COMPLETE_ARGS": typed,
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert set(done.stdout.split()) >= offered, done.stderr
