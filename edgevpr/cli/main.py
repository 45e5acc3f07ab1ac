"""The ``edgevpr`` command: assembly of the verbs, exit codes, errors as one sentence."""

import errno
import os
import sys

import typer

from edgevpr import __version__
from edgevpr.cli.usage import is_usage_error, usage_sentence
from edgevpr.cli.verbs import Verbs, new_app
from edgevpr.errors import EdgeVPRError

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
    debug = "--debug" in sys.argv[1:] or bool(os.environ.get("EDGEVPR_DEBUG"))
    try:
        run(sys.argv[1:])
    except BaseException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        if isinstance(error, SystemExit) or (debug and not is_usage_error(error)):
            raise
        code, sentence = explain(error)
        print(f"edgevpr: {sentence}", file=sys.stderr, flush=True)
        if isinstance(error, BrokenPipeError):
            # The reader of stdout is gone; flushing it at exit would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(code)


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence for an exception that reached the top."""
    if isinstance(error, EdgeVPRError):
        return error.exit_code, str(error)
    if is_usage_error(error):
        return 2, usage_sentence(error)
    if isinstance(error, KeyboardInterrupt):
        return 130, "interrupted: nothing half-written is left, run the same command again"
    if isinstance(error, MemoryError):
        return 7, "found no free memory, expected some: close other programs or lower --batch-size"
    if isinstance(error, BrokenPipeError):
        return 1, "the program reading the output has closed it"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename or "the output"
        return 7, f"found no space left on the disk of {where}: free some, run the command again"
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        where = error.filename or "the output"
        return (
            7,
            f"found {where} closed to this user, expected access: choose another --output",
        )
    if (
        isinstance(error, OSError)
        and error.errno in (errno.ENOTDIR, errno.EEXIST)
        and error.filename
    ):
        return 2, f"{error.filename}: found a file where a folder is expected: correct the path"
    kind = type(error).__name__
    return 1, f"unexpected {kind} ({error}): run again with edgevpr --debug and report it"
