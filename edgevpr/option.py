"""Annotation of an option: help, bounds and flag beside the dataclass field it describes.

A stage's options are one frozen dataclass. The command line takes names, types, defaults and
help from it (``edgevpr.cli.options``); a program that calls the stage reads them in its source::

    @dataclass(frozen=True)
    class IndexOptions:
        dim: Annotated[int, Option("Width of the index at most.", min=1)] = 256
        radius_m: Annotated[float, Option("Metres within which ...", flag="--radius")] = 25.0

A field without an ``Option`` is no option of the command line.
"""

from dataclasses import dataclass


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
