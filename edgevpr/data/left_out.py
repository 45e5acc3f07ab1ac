"""Record of what a reader could not use: every photo, row or folder that was left out, and why."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edgevpr.errors import DataError


@dataclass(frozen=True)
class LeftOut:
    """One input that was not used: a photo, a folder, or a row of a table."""

    path: str
    #: for example "no position"; reads well after the path and a colon.
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


def summary(left_out: Sequence[LeftOut], named: int = 3) -> str:
    """``5 left out (a.jpg: no position; b.jpg: an empty file; c.jpg: ...; and 2 more)``.

    The first of each reason comes first, so that no reason hides behind many of another.
    """
    seen: Counter[str] = Counter()
    ranks = []
    for item in left_out:
        kind = _kind(item.reason)
        ranks.append(seen[kind])
        seen[kind] += 1
    order = sorted(range(len(left_out)), key=lambda i: (ranks[i], i))
    first = [str(left_out[i]) for i in order[:named]]
    more = len(left_out) - len(first)
    return f"{len(left_out)} left out ({'; '.join(first)}{f'; and {more} more' if more else ''})"


def refuse(left_out: Sequence[LeftOut], where: str) -> None:
    """Raise one error for all that was left out, if anything was.

    Raises:
        DataError: with their number and the first ones.
    """
    if left_out:
        raise DataError(
            f"found inputs of {where} that cannot be used, {summary(left_out)}, expected none: "
            "correct or remove them, or run without `strict`"
        )


def printable(path: str) -> str:
    """A file name as text, whatever its bytes: those that are not UTF-8 become ``\\xe9``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _kind(reason: str) -> str:
    """The reason without what differs from photo to photo: numbers and quoted values."""
    return " ".join(word for word in reason.split() if not any(c.isdigit() for c in word))
