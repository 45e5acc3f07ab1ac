"""The command line as a whole: exit codes, error sentences, help."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from edgevpr.cli import main as cli
from edgevpr.cli.verbs import VERBS, load
from edgevpr.errors import (
    CorruptArtifactError,
    DataError,
    EdgeVPRError,
    MissingExtraError,
    NumericsError,
    ResourceError,
    SpaceMismatchError,
    TargetError,
    UnknownTargetError,
    UsageError,
)
from edgevpr.optional import require

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """run(error, *options) -> exit code, stdout, stderr of a verb that raises ``error``."""

    def go(error: BaseException, *options: str) -> tuple[int, str, str]:
        app = typer.Typer(pretty_exceptions_enable=False)

        @app.callback()
        def root(debug: bool = False) -> None:
            """Stands for edgevpr's own options."""

        @app.command()
        def verb() -> None:
            raise error

        monkeypatch.setattr(cli, "app", app)
        monkeypatch.setattr(sys, "argv", ["edgevpr", *options, "verb"])
        monkeypatch.delenv("EDGEVPR_DEBUG", raising=False)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return go


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EdgeVPRError("x"), 1),
        (UsageError("x"), 2),
        (UnknownTargetError("x"), 2),
        (DataError("x"), 3),
        (CorruptArtifactError("x"), 4),
        (SpaceMismatchError("x"), 4),
        (MissingExtraError("x"), 5),
        (TargetError("x"), 6),
        (ResourceError("x"), 7),
        (MemoryError(), 7),
        (OSError(errno.ENOSPC, "No space left on device", "/data/out"), 7),
        (OSError(errno.EROFS, "Read-only file system", "/data/out"), 7),
        (PermissionError(errno.EACCES, "Permission denied", "/data/out"), 7),
        (NumericsError("x"), 8),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("x"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_one_sentence_and_the_code_of_its_class(run: Run, error: BaseException, code: int) -> None:
    """No traceback, one line on stderr, the exit code of the class."""
    found, out, err = run(error)
    assert found == code
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("edgevpr: ")
    assert err.count("\n") == 1


def test_full_disk_is_named(run: Run) -> None:
    _, _, err = run(OSError(errno.ENOSPC, "No space left on device", "/data/out/index.faiss"))
    assert "no space left on the disk of /data/out/index.faiss" in err


@pytest.mark.parametrize("below", ["x", "x/y"])
def test_an_output_below_a_file(tmp_path: Path, below: str) -> None:
    """A path below a file is a usage error, and the file stays."""
    (tmp_path / "notes").write_text("kept")
    done = edgevpr("city", "-o", str(tmp_path / "notes" / below))
    assert done.returncode == 2
    assert "found a file where a folder is expected" in done.stderr
    assert (tmp_path / "notes").read_text() == "kept"


def test_interrupt_says_that_nothing_is_broken(run: Run) -> None:
    code, _, err = run(KeyboardInterrupt())
    assert code == 130
    assert "no output is half-written" in err


def test_missing_extra_gives_the_pip_command(run: Run) -> None:
    with pytest.raises(MissingExtraError) as caught:
        require("no_such_package_at_all", extra="train")
    _, _, err = run(caught.value)
    assert "pip install 'edgevpr[train]'" in err


def test_debug_shows_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="the cause"):
        run(DataError("the cause"), "--debug")


def test_unexpected_error_asks_for_a_report(run: Run) -> None:
    """An error outside the tree names its class and --debug."""
    _, _, err = run(ZeroDivisionError("division by zero"))
    assert "unexpected ZeroDivisionError" in err
    assert "--debug" in err


def test_help_lists_every_verb() -> None:
    done = edgevpr("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert f" {verb} " in done.stdout
    assert "Exit codes" in done.stdout


def commands() -> dict[str, Any]:
    """Every command by its words, those of a group too."""
    found = {}
    for verb in VERBS:
        command = load(verb)
        below = getattr(command, "commands", None) or {"": command}
        found |= {f"{verb} {name}".strip(): each for name, each in below.items()}
    return found


@pytest.mark.parametrize("verb", commands())
def test_verbs_keep_the_common_options(verb: str) -> None:
    """Every verb has --json and help, every parameter has help."""
    command = commands()[verb]
    options = {name for parameter in command.params for name in parameter.opts}
    assert "--json" in options
    assert command.help
    assert command.help.strip()[0].isupper()
    silent = [p.name for p in command.params if p.name != "help" and not getattr(p, "help", None)]
    assert not silent, f"{verb}: no help for {silent}"
    if verb.split()[-1] in (
        "city", "demo", "embed", "train", "index", "compile", "profile", "report", "explain",
        "models", "convert",
    ):  # fmt: skip
        assert {"--output", "-o"} <= options


def test_usage_error_ends_with_two() -> None:
    done = edgevpr("devices", "--no-such-option")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_unknown_target_on_the_real_command_line() -> None:
    """The error of a room below reaches stderr as one sentence."""
    done = edgevpr("devices", "jetson-nano-2gb")
    assert done.returncode == 2
    assert done.stderr.startswith("edgevpr: found no target named 'jetson-nano-2gb'")


def test_version() -> None:
    from edgevpr import __version__

    assert edgevpr("--version").stdout == f"edgevpr {__version__}\n"


def edgevpr(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgevpr", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "error",
    [
        DataError("found rtsp://admin:s3cret@10.0.0.7/x, expected a camera: check it"),
        OSError(errno.ENOENT, "No such file", "http:/admin:s3cret@10.0.0.7/x"),
        ZeroDivisionError("rtsp://10.0.0.7/x?password=s3cret"),
    ],
)
def test_sentences_have_no_passwords(run: Run, error: BaseException) -> None:
    _, _, err = run(error)
    assert "s3cret" not in err
    assert "***" in err


def test_tracebacks_have_no_passwords() -> None:
    done = edgevpr("--debug", "data", "check", "msls", "rtsp://admin:s3cret@10.0.0.7/x")
    assert "Traceback" in done.stderr
    assert "s3cret" not in done.stderr
