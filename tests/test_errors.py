"""The exception tree, and that every sentence says found, expected, and what to do next."""

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgevpr import errors
from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.space import check_same_space
from edgevpr.data import format_utm_name, parse_utm_name, read_gsv_cities, read_images, read_split
from edgevpr.data.exif import read_exif
from edgevpr.errors import EdgeVPRError
from edgevpr.optional import require
from edgevpr.places.positives import positives_within
from edgevpr.places.table import ImageTable
from edgevpr.places.utm import to_utm
from edgevpr.preprocess import read_image
from edgevpr.retrieval.projection import Projection
from edgevpr.retrieval.recall import recall_at

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


def drawn() -> list[tuple[str, int, int]]:
    """(name, exit code, depth) of every line of the tree in the module's docstring."""
    lines = re.findall(r"^ {4}([|` -]*)(\w+) +(\d)\b", errors.__doc__ or "", re.MULTILINE)
    return [(name, int(code), len(indent) // 4) for indent, name, code in lines]


def test_the_tree_is_drawn_as_it_is() -> None:
    """Classes, exit codes and depths are those of the drawing that users read."""
    real = [(kind.__name__, kind.exit_code, len(kind.__mro__) - 4) for kind in CLASSES]
    assert sorted(drawn()) == sorted(real)


def test_every_class_derives_from_one_and_says_when() -> None:
    """The command line reports every other class as unexpected."""
    for kind in CLASSES:
        assert issubclass(kind, EdgeVPRError)
        assert kind.__doc__
        assert 1 <= kind.exit_code <= 8


def artifact(path: Path, damage: Callable[[Path], object] = lambda path: None) -> Path:
    with write_artifact(path / "a", "features") as folder:
        (folder / "x").write_bytes(b"xx")
    damage(path / "a")
    return path / "a"


def images(path: Path, *names: str, table: str = "") -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"no image")
    if table:
        (path / "images.csv").write_text(table)
    return path


def replace_folder(path: Path) -> None:
    with write_artifact(path, "model"):
        pass


def manifest(text: str) -> Callable[[Path], object]:
    return lambda path: (path / "manifest.json").write_text(text)


NOWHERE = ImageTable.build(["a"])
#: What a user can do wrong with files, and the code that notices.
WRONG: dict[str, Callable[[Path], object]] = {
    "empty folder": read_images,
    "no folder": lambda p: read_images(p / "none"),
    "no places": lambda p: read_images(images(p, "a.jpg")),
    "no exif": lambda p: read_exif(images(p, "a.jpg") / "a.jpg"),
    "bad name": lambda p: read_images(images(p, "@1@x@.jpg")),
    "other name": lambda p: parse_utm_name("a.jpg"),
    "bad value": lambda p: format_utm_name(1, 2, 99, "U", 0, 0),
    "table: no file": lambda p: ImageTable.load(p / "t.csv"),
    "table: columns": lambda p: read_images(images(p, "a.jpg", table="name\na.jpg\n")),
    "table: number": lambda p: read_images(images(p, "a.jpg", table="path,place\na.jpg,x\n")),
    "table: missing": lambda p: read_images(images(p, "a.jpg", table="path,place\nb.jpg,1\n")),
    "table: nowhere": lambda p: read_images(images(p, "a.jpg", table="path\na.jpg\n")),
    "table: empty": lambda p: read_images(images(p, "a.jpg", table="path\n")),
    "split in one": lambda p: read_images(images(p, "database/a.jpg", "queries/a.jpg")),
    "split: folder": lambda p: read_split(images(p, "queries/a.jpg")),
    "gsv: no csv": read_gsv_cities,
    "gsv: column": lambda p: read_gsv_cities(images(p, "Dataframes/A.csv")),
    "gsv: city": lambda p: read_gsv_cities(images(p, "Dataframes/A.csv"), ["B"]),
    "artifact for images": lambda p: read_images(artifact(p)),
    "degrees": lambda p: to_utm([99], [0]),
    "radius": lambda p: positives_within(NOWHERE, NOWHERE, -1),
    "image: none": lambda p: read_image(p / "a.jpg"),
    "image: text": lambda p: read_image(images(p, "a.jpg") / "a.jpg"),
    "recall": lambda p: recall_at(np.zeros((1, 1), int), [np.array([])], database=1),
    "space": lambda p: check_same_space("a", "B", "c", "D"),
    "projection": lambda p: Projection.load(p / "projection.npy"),
    "artifact: none": lambda p: open_artifact(p / "none", "gallery"),
    "artifact: kind": lambda p: open_artifact(artifact(p), "gallery"),
    "artifact: missing": lambda p: open_artifact(
        artifact(p, lambda a: (a / "x").unlink()), "features"
    ),
    "artifact: cut": lambda p: open_artifact(
        artifact(p, lambda a: (a / "x").write_bytes(b"x")), "features"
    ),
    "artifact: flipped": lambda p: open_artifact(
        artifact(p, lambda a: (a / "x").write_bytes(b"xy")), "features"
    ),
    "artifact: version": lambda p: open_artifact(artifact(p, manifest('{"format": 9}')), "model"),
    "artifact: manifest": lambda p: open_artifact(artifact(p, manifest("{")), "features"),
    "artifact: not listed": lambda p: open_artifact(artifact(p), "features").file("y"),
    "artifact: other kind there": lambda p: replace_folder(artifact(p)),
    "artifact: foreign": lambda p: replace_folder(images(p, "thesis.txt")),
}
#: What a next step begins with.
STEPS = (
    "check", "choose", "complete", "copy", "correct", "make", "pass", "rename", "replace", "use",
    "write", "add",
)  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_every_sentence_says_found_expected_and_next(tmp_path: Path, case: str) -> None:
    """A message says what was found, what was expected and what to do."""
    (tmp_path / "here").mkdir()
    with pytest.raises(EdgeVPRError) as caught:
        WRONG[case](tmp_path / "here")
    sentence = str(caught.value)
    assert "expected" in sentence
    assert "\n" not in sentence
    step = re.split(r"[:;] (?=[a-z])", sentence)[-1]
    assert step.startswith(STEPS), f"no next step in: {sentence}"


def test_a_missing_package_gives_the_command() -> None:
    """Its next step is a command to paste."""
    with pytest.raises(EdgeVPRError, match=r"run:? pip install 'edgevpr\[train\]'"):
        require("not_installed_anywhere", extra="train")


PACKAGE = Path(errors.__file__).parent
#: Rooms whose messages do not keep to the grammar yet; the list only gets shorter.
NOT_YET = {
    "artifacts", "city", "compile", "data", "demo", "places", "profiles", "ray_cluster.py",
    "runtime", "train",
}  # fmt: skip
ROOMS = sorted(
    {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")} - {"cli"} - NOT_YET
)
#: Commands whose flags a message may spell: our own verbs, and other programs.
COMMANDS = re.compile(
    r"edgevpr [a-z]+|\b(pip|apt|ssh|ray|venv|virtual environment|trtexec|nvpmodel|ls|python3?)\b"
)
FLAG = re.compile(r"(?<![\w-])(--[a-z][\w-]*|-[a-z])(?![\w-])")


def text_of(expression: ast.expr) -> str:
    """All string parts of an expression in the order of the source, _ for what is put in."""
    parts = [
        node
        for node in ast.walk(expression)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return "_".join(node.value for node in sorted(parts, key=lambda n: (n.lineno, n.col_offset)))


def flags_in(message: str) -> list[str]:
    """Flags that a message spells although no command stands before them."""
    return [m[0] for m in FLAG.finditer(message) if not COMMANDS.search(message[: m.start()])]


@pytest.mark.parametrize("room", ROOMS)
def test_messages_name_parameters_not_flags(room: str) -> None:
    """Flags are spelled by the command line only; a library user knows parameters."""
    top = PACKAGE / room
    wrong = []
    for path in [top] if top.is_file() else sorted(top.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and node.exc is not None:
                message = text_of(node.exc)
                named = re.findall("`([^`]*)`", message)
                if flags_in(message) or not all(name.isidentifier() for name in named):
                    wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {message}")
    assert not wrong


@pytest.mark.parametrize(
    ("message", "flags"),
    [
        ("found `top` 0, expected 1 or more: pass `top` 5", []),
        ("found 0, expected more: pass --top 5", ["--top"]),
        ("found a file: choose another place with -o", ["-o"]),
        ("no engine: run edgevpr compile MODEL --target cpu again", []),
        ("no package: run pip install --upgrade onnxruntime", []),
        ("found 8-d descriptors and a --flag", ["--flag"]),
    ],
)
def test_flags_are_found(message: str, flags: list[str]) -> None:
    assert flags_in(message) == flags
