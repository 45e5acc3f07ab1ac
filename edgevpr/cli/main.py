"""The ``edgevpr`` command: assembly of the verbs, exit codes, errors as one sentence."""

import os
import sys
import traceback
from types import TracebackType

import typer

from edgevpr import __version__
from edgevpr.cli.process import (
    EXIT_CODE,
    INTERRUPTED,
    Interruption,
    interruptible,
    open_standard_streams,
)
from edgevpr.cli.system_errors import system_sentence
from edgevpr.cli.usage import is_usage_error, usage_sentence
from edgevpr.cli.verbs import Verbs, new_app
from edgevpr.errors import EdgeVPRError
from edgevpr.printable import printable
from edgevpr.redact import redact

app = new_app(
    cls=Verbs,
    epilog="Exit codes: 0 done, 1 error, 2 usage, 3 data, 4 artifact, 5 missing package, "
    "6 target, 7 disk or memory, 8 numerics, 130 interrupted.",
)


def _version(value: bool) -> None:
    if value:
        print(f"edgevpr {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
    debug: bool = typer.Option(
        False, "--debug", help="Show the full traceback of an error.", envvar="EDGEVPR_DEBUG"
    ),
) -> None:
    """Tell a robot where it is from one camera frame, on the board it carries."""


def run(words: list[str]) -> None:
    """Run a command line, without the leading ``edgevpr``; raises what its verb raises."""
    code = app(words, standalone_mode=False, prog_name="edgevpr")
    if code == 130:  # typer catches Ctrl-C and says nothing
        raise KeyboardInterrupt
    if code:
        sys.exit(code)


def main() -> None:
    """Entry point: run a verb, end with the exit code of its class of error."""
    open_standard_streams()
    debug = "--debug" in sys.argv[1:] or bool(os.environ.get("EDGEVPR_DEBUG"))
    if not debug:
        # OpenCV warns of every damaged image without its name; the sentences here have it.
        os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    told = Interruption()
    try:
        with interruptible() as told:
            run(sys.argv[1:])
    except BaseException as error:
        if told.came and isinstance(error, Exception):
            error = KeyboardInterrupt()
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        if isinstance(error, SystemExit):
            raise
        if debug and not is_usage_error(error):
            sys.excepthook = _traceback
            raise
        code, sentence = explain(error)
        if code == 130:
            # Python dies of SIGINT at its end, whatever the code, if that came while a text was
            # executed (dataclasses are made so); the next text makes it forget.
            exec("")
        print(f"edgevpr: {sentence}", file=sys.stderr, flush=True)
        if isinstance(error, BrokenPipeError):
            # The reader of stdout is gone; flushing it at exit would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(code)


def _traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Python's traceback, without the passwords in its messages."""
    print(redact("".join(traceback.format_exception(kind, error, trace))), file=sys.stderr, end="")


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence for an exception that reached the top.

    The sentence is one line without secrets, whatever the names in it hold.
    """
    code, sentence = _explain(error)
    return code, printable(redact(sentence))


def _explain(error: BaseException) -> tuple[int, str]:
    if isinstance(error, EdgeVPRError):
        return error.exit_code, str(error)
    if is_usage_error(error):
        return 2, usage_sentence(error)
    if isinstance(error, KeyboardInterrupt):
        return EXIT_CODE, INTERRUPTED
    if isinstance(error, MemoryError):
        return 7, "found no free memory, expected some: close other programs or lower --batch-size"
    if isinstance(error, BrokenPipeError):
        return 1, "the program reading the output has closed it"
    if isinstance(error, OSError) and (found := system_sentence(error)):
        return found
    kind = type(error).__name__
    return 1, f"unexpected {kind} ({error}): run again with edgevpr --debug and report it"
