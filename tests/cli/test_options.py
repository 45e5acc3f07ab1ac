"""A dataclass as the options of a verb: one source for names, types, defaults and help."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from edgevpr.cli.options import named_values, takes
from edgevpr.cli.verbs import load
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.errors import UsageError
from edgevpr.option import Option


@dataclass(frozen=True)
class Inner:
    depth: Annotated[int, Option("Depth of the inside.", min=1)] = 2


@dataclass(frozen=True)
class Settings:
    images: Annotated[Path, Option("Images to read.")]
    target: Annotated[str, Option("Where to.")]
    inner: Inner
    radius_m: Annotated[float, Option("Metres.", max=100, flag="--radius")] = 25.0
    limit: Annotated[int | None, Option("At most, within `radius_m` and `other_thing`.")] = None
    kind: Annotated[Literal["a", "b"], Option("Which.")] = "a"
    cities: Annotated[tuple[str, ...], Option("Only these.", flag="--city")] = ()
    extra: Annotated[dict[str, Any], Option("NAME=VALUE.")] = field(default_factory=dict)
    mean: Annotated[tuple[float, float], Option("Two numbers.")] = (0.5, 0.25)
    cache: Annotated[bool, Option("Keep files.")] = True
    qat: Annotated[bool, Option("Round.")] = False
    internal: int = 7


@pytest.fixture
def seen() -> list[Any]:
    return []


@pytest.fixture
def app(seen: list[Any]) -> typer.Typer:
    made = typer.Typer(rich_markup_mode=None)

    @made.command()
    @takes(Settings, arguments=("images",), short={"target": "-t"})
    def verb(
        output: Annotated[str, typer.Option("-o", help="To write.")] = "out",
        *,
        settings: Settings,
        json: Annotated[bool, typer.Option("--json", help="JSON.")] = False,
    ) -> None:
        """Do something."""
        seen.extend([settings, output, json])

    return made


def test_defaults_are_the_dataclass_s(app: typer.Typer, seen: list[Any]) -> None:
    done = CliRunner().invoke(app, ["pictures", "-t", "cpu"])
    assert done.exit_code == 0, done.output
    assert seen == [Settings(Path("pictures"), "cpu", Inner()), "out", False]


def test_every_kind_of_value(app: typer.Typer, seen: list[Any]) -> None:
    words = "pictures --target cpu --depth 3 --radius 5 --limit 9 --kind b --city X --city Y"
    words += " --extra a=1 --extra b=x --mean 1 2 --no-cache --qat --json -o there"
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 0, done.output
    assert seen == [
        Settings(
            Path("pictures"), "cpu", Inner(3), 5.0, 9, "b", ("X", "Y"), {"a": 1, "b": "x"},
            (1.0, 2.0), cache=False, qat=True,
        ),
        "there",
        True,
    ]  # fmt: skip


def test_help_says_what_the_dataclass_says(app: typer.Typer) -> None:
    text = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert "IMAGES" in text
    assert "At most, within --radius and --other-thing." in text
    assert "--internal" not in text
    assert "--radius-m" not in text


@pytest.mark.parametrize("words", ["--depth 0", "--radius 101", "--kind c", "--extra a"])
def test_values_out_of_range_are_refused(app: typer.Typer, seen: list[Any], words: str) -> None:
    done = CliRunner().invoke(app, ["pictures", "-t", "cpu", *words.split()])
    assert done.exit_code != 0
    assert seen == []


def test_numbers_are_read_as_numbers() -> None:
    assert named_values(["a=1", "b=0.5", "c=x=y"], "extra") == {"a": 1, "b": 0.5, "c": "x=y"}
    with pytest.raises(UsageError, match="found `extra` a, expected NAME=VALUE"):
        named_values(["a"], "extra")


def test_index_has_every_option_of_its_dataclass() -> None:
    options = {p.name: p for p in load("index").params}
    for name, value in vars(IndexOptions()).items():
        assert options[name].default == (value if value is not None else None)
