"""Guard of a call's outputs against its inputs: what is read is never written over.

``edgevpr.cli.outputs`` looks at every verb before it starts, and names flags; the functions that a
verb stands for look for themselves (``keeps_inputs``), for programs that call them.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from edgevpr.files import check_output_folder, output_file

P = ParamSpec("P")
R = TypeVar("R")


def check_outputs(
    outputs: Mapping[str, Any],
    inputs: Iterable[Any],
    *,
    files: Collection[str] = (),
    filled: Collection[str] = (),
) -> None:
    """Raise where an output would harm an input; nothing is written.

    Args:
        outputs: paths to write by the name of their parameter; None is none.
        inputs: paths that are read; lists of paths and dataclasses with paths, too.
        files: names of the outputs that are files; the others are folders.
        filled: names of the folders that files are put into; others are replaced as a whole.

    Raises:
        UsageError: an output is, contains or lies inside an input.
    """
    read = [path for value in inputs for path in paths_in(value)]
    for name, value in outputs.items():
        for path in paths_in(value):
            if name in files:
                output_file(path, read, name=name)
            else:
                check_output_folder(path, read, name=name, filled=name in filled)


def keeps_inputs(
    *outputs: str, files: Collection[str] = (), filled: Collection[str] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that it raises UsageError before it writes over what it reads.

    Args:
        outputs: its parameters that name a place to write; every other path that it is given,
            also in a dataclass of options, is an input.
        files, filled: those of ``outputs`` that are files, and folders that files are put into.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments
            check_outputs(
                {name: given.get(name) for name in outputs},
                [
                    value
                    for name, value in given.items()
                    if name not in outputs and _may_be_path(signature.parameters[name], value)
                ],
                files=files,
                filled=filled,
            )
            return function(*args, **kwargs)

        return guarded

    return decorate


def paths_in(value: Any) -> Iterator[Path]:
    """The paths that a value is or holds: one, a list of them, those of a dataclass."""
    if isinstance(value, Path | str):
        yield Path(value)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from paths_in(each)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            if isinstance(inner, Path) or dataclasses.is_dataclass(inner):
                yield from paths_in(inner)


def _may_be_path(parameter: inspect.Parameter, value: Any) -> bool:
    """Texts and lists are paths only where the parameter is one of paths."""
    return not isinstance(value, str | list | tuple) or "Path" in str(parameter.annotation)
