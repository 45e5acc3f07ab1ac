"""Text of an `exit`: a name, ``deadline:MS``, ``confidence:P[,MS]`` or ``budget:FILE``."""

from dataclasses import dataclass
from pathlib import Path

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.errors import UsageError

_FORMS = "the name of an exit, deadline:MS, confidence:P[,MS] or budget:FILE"


@dataclass(frozen=True)
class ExitChoice:
    """One way to choose exits."""

    #: an exit, where it is fixed.
    name: str = ""
    #: milliseconds from the pixels being there to the answer.
    deadline_ms: float | None = None
    #: confidence, 0 to 1, of an answer that needs no deeper exit.
    confidence: float | None = None
    #: file of a level from 0 to 1.
    budget: Path | None = None

    @property
    def fixed(self) -> bool:
        return bool(self.name)


def parse_exit(text: str) -> ExitChoice:
    """``text`` as a choice; whether a bundle has an exit of that name is not known here.

    Raises:
        UsageError: it is none.
    """
    kind, colon, rest = text.partition(":")
    if not colon and text.strip():
        return ExitChoice(name=text.strip())
    if kind == "deadline":
        return ExitChoice(deadline_ms=_ms(text, rest))
    if kind == "confidence":
        share, comma, ms = rest.partition(",")
        least = _number(share)
        if least is None or not 0 <= least <= 1:
            raise UsageError(
                f"found `exit` {text!r}, expected a confidence from 0 to 1: pass `exit` "
                "confidence:0.9"
            )
        return ExitChoice(confidence=least, deadline_ms=_ms(text, ms) if comma else None)
    if kind == "budget" and rest:
        return ExitChoice(budget=Path(rest))
    raise UsageError(f"found `exit` {text!r}, expected {_FORMS}: pass `exit` {FULL}")


def _ms(text: str, value: str) -> float:
    ms = _number(value)
    if ms is None or not 0 < ms < float("inf"):
        raise UsageError(
            f"found `exit` {text!r}, expected milliseconds above 0: pass `exit` deadline:50"
        )
    return ms


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
