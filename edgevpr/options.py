"""Help and range of a setting, annotated on the dataclass field that holds it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """``Annotated[int, Option("Passes over the images.", min=1)]``; both ends are included."""

    help: str
    min: float | None = None
    max: float | None = None
    #: the command line's spelling, where it is not the field's name.
    flag: str = ""
