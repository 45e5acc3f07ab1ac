"""Parameter names in messages, spelt as the verb that runs spells them.

Rooms below the command line name a parameter in backticks, by its Python name; here `radius_m`
becomes --radius and `source` becomes SOURCE (see ``edgevpr.errors``).
"""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgevpr.errors import EdgeVPRError

NAME = re.compile(r"`(\w+)`")
#: Units that end a parameter's name and not the flag's.
UNIT = re.compile(r"_(m|s|ms|mb|deg|percent)$")

#: Python name -> spelling, of the verb that runs.
_names: Mapping[str, str] = {}


def names_of(command: Any) -> dict[str, str]:
    """Spelling of every parameter of a typer command: a flag, or an argument's METAVAR."""
    names = {}
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            names[parameter.name] = (parameter.metavar or parameter.name).upper().rstrip(".")
        else:
            names[parameter.name] = max(parameter.opts, key=len)
    return names


def spell(message: str, names: Mapping[str, str] | None = None) -> str:
    """A message with its backticked names spelt by ``names``, or as the running verb does."""
    known = _names if names is None else names
    return NAME.sub(lambda found: _spelling(found[1], known), message)


def _spelling(name: str, names: Mapping[str, str]) -> str:
    for known in (name, UNIT.sub("", name), {"out": "output"}.get(name, name)):
        if known in names:
            return names[known]
    return "--" + name.replace("_", "-")


@contextlib.contextmanager
def spelling_of(command: Any) -> Iterator[None]:
    """``spell`` as this command does; errors that leave the block are spelt so."""
    global _names
    outer, _names = _names, names_of(command)
    try:
        yield
    except EdgeVPRError as error:
        error.args = (spell(str(error)), *error.args[1:])
        raise
    finally:
        _names = outer


def spelt(command: Any) -> None:
    """Run the command's callback within ``spelling_of`` it."""
    callback: Callable[..., Any] = command.callback

    @functools.wraps(callback)
    def run(*args: Any, **kwargs: Any) -> Any:
        with spelling_of(command):
            return callback(*args, **kwargs)

    command.callback = run
