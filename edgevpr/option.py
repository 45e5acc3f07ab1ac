"""Annotation of an option: help, bounds and flag beside the dataclass field it describes.

A stage's options are one frozen dataclass. The command line takes names, types, defaults and
help from it (``edgevpr.cli.options``); a program that calls the stage reads them in its source::

    @dataclass(frozen=True)
    class IndexOptions:
        dim: Annotated[int, Option("Width of the index at most.", min=1)] = 256
        radius_m: Annotated[float, Option("Metres within which ...", flag="--radius")] = 25.0

A field without an ``Option`` is no option of the command line.
"""

from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from edgevpr.errors import UsageError


@dataclass(frozen=True)
class Option:
    """Help, bounds and flag of one field."""

    #: sentences for --help, and for whoever reads the dataclass.
    help: str
    #: least and greatest value, both included; the command line checks them.
    min: float | None = None
    max: float | None = None
    #: the command line's spelling, where it is not "--" and the field's name with dashes.
    flag: str = ""


def check_ranges(options: Any) -> None:
    """Raise unless every field of a dataclass is within the bounds of its ``Option``.

    Raises:
        UsageError: names the first that is not.
    """
    hints = get_type_hints(type(options), include_extras=True)
    for field in fields(options):
        for about in getattr(hints[field.name], "__metadata__", ()):
            value = getattr(options, field.name)
            if (about.min, about.max) == (None, None) or value is None:
                continue
            low = -float("inf") if about.min is None else about.min
            high = float("inf") if about.max is None else about.max
            if not low <= value <= high:
                ends = f"{low:g} or more" if about.min is not None else f"at most {high:g}"
                instead = field.default if field.default not in (MISSING, None) else ends
                raise UsageError(
                    f"found `{field.name}` {value}, expected {ends}: pass `{field.name}` {instead}"
                )
