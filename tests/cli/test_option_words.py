"""Every option of every verb is a word of one table, with one type and one unit."""

import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from edgevpr.cli.verbs import VERBS, load

DOCS = Path(__file__).resolve().parents[2] / "docs"


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WORDS: dict[str, Any] = _module("option_words").WORDS
#: How a help text names a unit of the table.
UNITS = {
    "metres": "metres", "degrees": "degrees", "pixels": "pixels", "seconds": "seconds",
    "minutes": "minutes", "milliseconds": "milliseconds", "megabytes": "megabytes",
    "percent": "percent", "probability": "probability", "points of R@1": r"points of R@1",
    "frames": "frames", "metres a second": "metres a second",
}  # fmt: skip


def options() -> list[tuple[str, str, Any, str]]:
    """(verb, longest spelling, type, help) of every option but --help."""
    found = []
    for verb in VERBS:
        group = load(verb)
        for name, command in (getattr(group, "commands", None) or {"": group}).items():
            hints = inspect.signature(command.callback).parameters
            for parameter in command.params:
                if parameter.param_type_name == "option" and parameter.name != "help":
                    kind = get_args(hints[parameter.name].annotation)[0]
                    spelling = max(parameter.opts, key=len)
                    found.append((f"{verb} {name}".strip(), spelling, kind, parameter.help))
    return found


def value_of(kind: Any) -> str:
    """A type as the table writes it."""
    if get_origin(kind) is list:
        return f"{value_of(get_args(kind)[0])}, repeatable"
    if get_origin(kind) is tuple:
        return f"{len(get_args(kind))} numbers"
    if get_origin(kind) is Literal:
        return "text"
    if get_args(kind):  # X | None
        (inner,) = (each for each in get_args(kind) if each is not type(None))
        return value_of(inner)
    return {bool: "switch", int: "integer", float: "number", str: "text", Path: "path"}[kind]


@pytest.mark.parametrize(("verb", "word", "kind", "text"), options())
def test_options_are_words_of_the_table(verb: str, word: str, kind: Any, text: str) -> None:
    assert word in WORDS, f"edgevpr {verb} {word} is in no row of docs/option_words.py"
    row = WORDS[word]
    assert value_of(kind) == row.value
    if row.unit in UNITS:
        assert re.search(UNITS[row.unit], text, re.IGNORECASE), f"{verb} {word}: {row.unit}?"
    # The other way: a number whose help names a unit has it in the table.
    if row.value in ("number", "integer"):
        for unit in ("metres", "seconds", "minutes", "percent", "milliseconds", "megabytes"):
            if re.match(rf"(\w+: )?{unit} ", text, re.IGNORECASE):
                assert unit in row.unit, f"{verb} {word} is in {unit}"
    if row.value.endswith("repeatable"):
        assert re.search("repeatable", text, re.IGNORECASE), f"{verb} {word}"


def test_no_word_of_the_table_is_unused() -> None:
    assert WORDS.keys() == {word for _, word, _, _ in options()}


def test_shares_are_percent_and_confidence_a_probability() -> None:
    for word, row in WORDS.items():
        assert ("share of" in row.meaning) <= (row.unit == "percent"), word
        assert ("confidence" in word) <= row.unit.startswith("probability"), word


def test_a_short_letter_is_one_word() -> None:
    letters: dict[str, str] = {}
    for verb in VERBS:
        group = load(verb)
        for command in (getattr(group, "commands", None) or {"": group}).values():
            for parameter in command.params:
                for short in (o for o in parameter.opts if not o.startswith("--")):
                    if parameter.param_type_name == "option":
                        word = max(parameter.opts, key=len)
                        assert letters.setdefault(short, word) == word
