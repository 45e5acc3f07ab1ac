"""Help and bounds of an option, kept in the annotation of the field that holds its value."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """Metadata of ``name: Annotated[type, Option("help")] = default``."""

    help: str
    min: float | None = None
    max: float | None = None
    #: flag of the command line where it is not the field's name.
    flag: str = ""
