"""Rules of the house: who imports whom, where heavy packages live, one name for one thing."""

import ast
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from edgevpr.cli.verbs import VERBS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "edgevpr"

#: A room imports itself and rooms of a lower level, never a neighbour on its own.
LEVELS = (
    ("ground",),
    ("places", "device"),
    ("artifacts",),
    ("retrieval", "data"),
    ("runtime",),
    ("profiles", "compile", "train", "city"),
    ("demo",),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
#: These describe maps and images for a robot, and know nothing of what runs on it.
WITHOUT_RUNTIME = ("train", "city")

#: Inside compile: a part imports those to its right of the same line, and what stands below.
COMPILE = {
    "pipeline": {"stages", "bundle", "options", "source", "evidence", "cache", "board_graphs"},
    "auto": {"precision", "graph", "engine", "cache"},
    "precision": {"graph"},
    "graph": set(),
    "engine": set(),
    "index": set(),
    "gallery_updates": {"index"},
}

HEAVY = {
    "torch": {"train"},
    "timm": {"train"},
    "lightning": {"train"},
    "onnx": {"compile"},
}
#: Parts of compile that run on a board or on a map's machine, without onnx.
NO_ONNX = ("engine", "index", "gallery_updates")


def modules() -> dict[str, ast.Module]:
    """Every module of the package, parsed."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(file.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imported(tree: ast.Module) -> set[str]:
    """Dotted names of everything imported, in functions and for types too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(name: str) -> str:
    """The module of the package that a dotted name is in."""
    while name not in MODULES:
        name = name.rpartition(".")[0]
    return name


#: Module -> modules of the package that it imports.
IMPORTS = {
    name: {own(other) for other in imported(tree) if other.partition(".")[0] == "edgevpr"} - {name}
    for name, tree in MODULES.items()
}


def room(name: str) -> str:
    """The room of a module: the sub-package, or the ground floor."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL else "ground"


def part(name: str) -> str:
    """The part of compile that a module belongs to: a sub-package or a file; else ''."""
    parts = name.split(".")
    return parts[2] if parts[1:2] == ["compile"] and len(parts) > 2 else ""


def test_every_sub_package_is_a_room() -> None:
    rooms = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()}
    assert rooms == set(LEVEL) - {"ground"}


def test_rooms_import_downward() -> None:
    wrong = []
    for name, others in IMPORTS.items():
        if name in ("edgevpr", "edgevpr.__main__"):  # the public face, and the command itself
            continue
        for other in others - {"edgevpr"}:
            here, there = room(name), room(other)
            below = LEVEL[there] < LEVEL[here] or there == here
            if not below or (here in WITHOUT_RUNTIME and there == "runtime"):
                wrong.append(f"{name} imports {other}")
    assert not wrong


def test_parts_of_compile_import_downward() -> None:
    wrong = []
    for name, others in IMPORTS.items():
        here = part(name)
        for other in others:
            there = part(other)
            if here in COMPILE and there not in ("", here) and here != "pipeline":
                allowed = COMPILE[here]
                if there not in allowed:
                    wrong.append(f"{name} imports {other}")
    assert not wrong


def test_no_circle() -> None:
    """Follows imports inside functions too: a circle that only loads late still ties its ends."""
    state: dict[str, int] = {}
    circles = []

    def visit(name: str, way: list[str]) -> None:
        state[name] = 1
        for other in sorted(IMPORTS[name]):
            if other == "edgevpr":  # the version; the face itself loads names when asked
                continue
            if state.get(other) == 1:
                circles.append(" -> ".join([*way[way.index(other) :], other]))
            elif other not in state:
                visit(other, [*way, other])
        state[name] = 2

    for name in IMPORTS:
        if name != "edgevpr" and name not in state:
            visit(name, [name])
    assert not circles


@pytest.mark.parametrize("package", HEAVY)
def test_heavy_packages_stay_in_their_rooms(package: str) -> None:
    users = {
        name
        for name, tree in MODULES.items()
        if any(other.partition(".")[0] == package for other in imported(tree))
    }
    wrong = {name for name in users if room(name) not in HEAVY[package]}
    wrong |= {name for name in users if package == "onnx" and part(name) in NO_ONNX}
    assert not wrong
    assert users, "the rule names a package that nothing uses"


def test_no_file_name_is_used_twice() -> None:
    """A verb's module in cli is named as the verb, whatever else is."""
    stems = Counter(
        file.stem
        for file in PACKAGE.rglob("*.py")
        if file.stem != "__init__" and room_of(file) != "cli"
    )
    assert not {stem for stem, count in stems.items() if count > 1}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0]


def test_no_public_class_name_is_used_twice() -> None:
    where = defaultdict(list)
    for name, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(name)
    assert not {name: names for name, names in where.items() if len(names) > 1}


def test_every_room_has_a_map() -> None:
    """Every package says in its docstring what each of its files holds."""
    missing = []
    for name, tree in MODULES.items():
        folder = ROOT / name.replace(".", "/")
        if not folder.is_dir() or name == "edgevpr":
            continue
        text = ast.get_docstring(tree) or ""
        below = {p.stem for p in folder.glob("*.py")}
        below |= {p.parent.name for p in folder.glob("*/__init__.py")}
        if name == "edgevpr.cli":  # the module of a verb has the verb's name
            below -= {verb.replace("-", "_") for verb in VERBS}
        missing += [f"{name}: {stem}" for stem in sorted(below - {"__init__"}) if stem not in text]
    assert not missing


QUESTIONS = {"What", "How", "Which", "Where", "When", "Whether", "Why", "Does", "Is"}


def test_module_docstrings_open_with_a_noun_phrase() -> None:
    wrong = [
        name
        for name, tree in MODULES.items()
        if (ast.get_docstring(tree) or "What").split()[0]
        in ("What", "How", "Which", "Where", "Does")
    ]
    assert not wrong


def test_tests_mirror_the_package() -> None:
    """A folder of tests is a room of the package."""
    tests = ROOT / "tests"
    folders = {p.parent.relative_to(tests) for p in tests.rglob("test_*.py")}
    assert {str(f) for f in folders if not (PACKAGE / f).is_dir()} == set()
