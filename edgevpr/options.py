"""Options of the stages, as the command line shows them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """Help and range of one field of an options class, as ``Annotated[type, Option(...)]``."""

    help: str
    #: least and largest value; None: no such bound.
    min: float | None = None
    max: float | None = None
    #: name on the command line where it is not the field's own, for example ``--radius``.
    flag: str = ""
