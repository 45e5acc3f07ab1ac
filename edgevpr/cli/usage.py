"""Sentences for what typer itself refuses: unknown options, missing ones, unreadable values.

Typer brings its own copy of click or uses an installed one, by version; its errors are known by
their names here.
"""

import re
import sys
from typing import Any, Literal, get_args, get_origin


def is_usage_error(error: BaseException) -> bool:
    """Whether it is one of click's errors, which know how to print themselves."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def usage_sentence(error: Any) -> str:
    """Found, expected and the next command, for one of click's errors."""
    path = error.ctx.command_path if getattr(error, "ctx", None) else "edgevpr"
    help_command = f"run {path} --help"
    kind, parameter = type(error).__name__, getattr(error, "param", None)
    if kind == "NoSuchOption":
        near = " or ".join(error.possibilities or ())
        such = f" such as {near}" if near else ""
        return f"found {error.option_name}, expected an option of {path}{such}: {help_command}"
    if parameter is None:
        message = error.format_message().rstrip(".").replace("argument(s)", "argument")
        if unknown := re.match(r"No such command '(.*?)'(?:\. Did you mean (.*?)\?|$)", message):
            such = f" such as {unknown[2]}".replace("'", "") if unknown[2] else ""
            return f"found {unknown[1]}, expected a verb{such}: {help_command}"
        return f"{message[:1].lower()}{message[1:]}: {help_command}"
    name = _name(parameter)
    if kind == "MissingParameter":
        return f"found no {name}, expected it: {help_command}"
    found = f"{name} {value}" if (value := _given(parameter, sys.argv)) else f"another {name}"
    return f"found {found}, expected {_expected(parameter, error)}: {help_command}"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return str(max(parameter.opts, key=len))


def _given(parameter: Any, words: list[str]) -> str:
    """The value on the command line, "" where it cannot be told."""
    for i, word in enumerate(words):
        option, equals, value = word.partition("=")
        if parameter.param_type_name == "option" and option in parameter.opts:
            return value if equals else " ".join(words[i + 1 : i + 2])
    return ""


def _expected(parameter: Any, error: Any) -> str:
    """The values a parameter takes, from typer's description of it or from click's type."""
    described = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    kind = getattr(parameter, "type", None)
    least, most = (
        getattr(parameter, limit, None) if hasattr(parameter, limit) else getattr(kind, limit, None)
        for limit in ("min", "max")
    )
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    if least is not None:
        return f"{least:g} or more"
    if most is not None:
        return f"at most {most:g}"
    choices = get_args(described) if get_origin(described) is Literal else ()
    if choices := choices or getattr(kind, "choices", ()):
        return "one of " + ", ".join(map(str, choices))
    if described is int or getattr(kind, "name", "") == "integer":
        return "an integer"
    if described is float or getattr(kind, "name", "") == "float":
        return "a number"
    return f"a value it can read ({error.message.rstrip('.')})"
