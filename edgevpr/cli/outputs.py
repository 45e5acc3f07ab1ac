"""Outputs of every verb, kept off what the same command reads.

A verb's inputs are its paths that are not named here as outputs. ``edgevpr run`` looks once more
when its sinks open, since its source is no path but an address.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from edgevpr.guard import check_outputs

#: Parameters that name a folder to write, and those that name a file.
FOLDERS, FILES = ("output", "save", "tensorboard"), ("per_query", "curve", "sheet")
#: Verbs whose ``output`` is a file.
WRITES_FILE = ("run", "report", "key")
#: Verbs that put files into the folder ``output``; those of others are replaced as a whole.
FILLS_FOLDER = ("demo", "explain")


def guarded(command: Any) -> None:
    """Check a typer command's outputs against its inputs before its callback runs.

    The callback then raises UsageError for an output that is an input.
    """
    callback: Callable[..., Any] = command.callback
    file_is_output = command.name in WRITES_FILE
    filled = command.name in FILLS_FOLDER
    # Some versions of typer hand paths on as text.
    annotated = inspect.signature(callback).parameters.values()
    paths = {p.name for p in annotated if "Path" in str(p.annotation)}

    @functools.wraps(callback)
    def run(*args: Any, **given: Any) -> Any:
        named = {name: value for name, value in given.items() if name in paths}
        check(named, file_is_output=file_is_output, filled=filled)
        return callback(*args, **given)

    command.callback = run


def check(given: Mapping[str, Any], *, file_is_output: bool = False, filled: bool = False) -> None:
    """Raise UsageError where an output among a verb's parameters would harm an input among them."""
    outputs = {name: value for name, value in given.items() if name in FOLDERS + FILES}
    check_outputs(
        outputs,
        [value for name, value in given.items() if name not in outputs],
        files=(*FILES, *(("output",) if file_is_output else ())),
        filled=(*FOLDERS[1:], *(("output",) if filled else ())),
    )
