"""Content of the wheel, dependencies, and the abilities of the bare install."""

import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("train", "compile", "runtime", "profiles")

#: Packages that only extras bring; the bare install must do without every one of them.
OPTIONAL = (
    "torch", "torchvision", "timm", "lightning", "pytorch_metric_learning", "safetensors", "onnx",
    "onnxscript", "onnx_graphsurgeon", "onnxslim", "modelopt", "polygraphy", "tensorrt",
    "tensorrt_rtx", "pycuda", "sklearn", "scipy", "matplotlib", "jinja2", "PIL",
    "tensorboard", "cryptography",
)  # fmt: skip

#: Runs first in a fresh interpreter: any import of these packages fails as if not installed.
BLOCKER = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {set(OPTIONAL)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def package_files() -> set[str]:
    """Every file of the package tree that belongs into the wheel."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "edgevpr").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this tree, built without network by the backend itself."""
    pytest.importorskip(
        "hatchling", reason="the wheel is built by hatchling: pip install hatchling"
    )
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return zipfile.ZipFile(built)


def test_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """No tests, no notes, no stage twice; every data file."""
    shipped = {n for n in wheel.namelist() if ".dist-info/" not in n}
    assert shipped == package_files()
    assert any(name.endswith("devices/jetson-orin.toml") for name in shipped)
    assert "edgevpr/profiles/report/templates/report.html" in shipped
    assert "edgevpr/py.typed" in shipped
    assert {Path(n).suffix for n in shipped} == {
        ".py", ".toml", ".html", ".typed", ".safetensors"
    }  # fmt: skip


def test_wheel_holds_no_links(wheel: zipfile.ZipFile) -> None:
    """pip installs a symbolic link as a text file."""
    for info in wheel.infolist():
        assert (info.external_attr >> 16) & 0o170000 != 0o120000


def test_wheel_carries_licence_and_command(wheel: zipfile.ZipFile) -> None:
    (licence,) = (n for n in wheel.namelist() if n.endswith("/LICENSE"))
    assert "APPENDIX: How to apply the Apache License" in wheel.read(licence).decode()
    (points,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    assert "edgevpr = edgevpr.__main__:main" in wheel.read(points).decode()
    (metadata,) = (n for n in wheel.namelist() if n.endswith("METADATA"))
    assert "Requires-Python: >=3.10" in wheel.read(metadata).decode()


@pytest.mark.parametrize("stage", STAGES)
def test_root_links_are_relative(stage: str) -> None:
    link = ROOT / stage
    assert link.is_symlink()
    assert str(link.readlink()) == f"edgevpr/{stage}"
    assert (link / "__init__.py").is_file()


def test_every_dependency_says_why() -> None:
    """A comment beside or above each dependency."""
    text = (ROOT / "pyproject.toml").read_text()
    section = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    unexplained, explained = [], False
    for line in map(str.strip, section.splitlines()):
        above, explained = explained, line.startswith("#")
        if re.match(r'^"[^"]+",', line) and "#" not in line and not above:
            unexplained.append(line)
        if re.match(r"^\w+ = \[.+\]", line) and "#" not in line:
            unexplained.append(line)
    assert not unexplained


def test_constraints_cover_what_is_asked_for() -> None:
    """Every direct dependency is pinned."""
    text = (ROOT / "pyproject.toml").read_text()
    section = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    asked = set(re.findall(r'"([A-Za-z][\w.-]*)\s*[><=]', section)) - {"python_version"}
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    # On other machines only: a GPU's TensorRT and pycuda.
    missing = {a.lower().replace("_", "-") for a in asked} - {p.lower() for p in pinned}
    assert missing == {"tensorrt", "pycuda"}


def brought_by(asked: list[str]) -> set[str]:
    """Names of all that pip installs for these requirements, as the packages here say."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in asked]
    while waiting:
        one = waiting.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(one.name)
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or []:
            below = Requirement(line)
            extras = ["", *one.extras]
            if below.marker is None or any(below.marker.evaluate({"extra": e}) for e in extras):
                below.marker = None
                waiting.append(below)
    return found


def test_the_device_runtime_stays_small() -> None:
    """pip install edgevpr brings no torch, onnx, Pillow nor compiler, not by way of another."""
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_text())["project"]
    brought = brought_by(project["dependencies"])
    assert {"numpy", "faiss-cpu", "onnxruntime", "rich"} <= brought
    heavy = {
        "torch", "torchvision", "timm", "onnx", "onnxscript", "pillow", "scipy", "scikit-learn",
        "matplotlib", "nvidia-modelopt", "tensorrt", "pycuda", "ray", "lightning",
    }  # fmt: skip
    assert not brought & heavy
    photos = brought_by([*project["dependencies"], *project["optional-dependencies"]["photos"]])
    assert photos - brought == {"pillow"}


def test_constraints_pin_one_version_for_each_python() -> None:
    """pip refuses two pins that both apply."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, marker = line.partition(";")
            found.setdefault(name.partition("==")[0], []).append(marker.strip())
    both = ['python_version >= "3.11"', 'python_version < "3.11"']
    odd = {name: markers for name, markers in found.items() if markers not in ([""], both)}
    assert odd == {"tomli": ['python_version < "3.11"']}


def test_text_names_no_machine() -> None:
    """No local path and no index of wheels in the files that everyone installs from."""
    for name in ("pyproject.toml", "constraints.txt", "Makefile", "CONTRIBUTING.md", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"--find-links|--extra-index-url|/home/|/root/|/opt/", text), name


@pytest.mark.parametrize("arguments", [["--help"], ["devices"], ["doctor"], ["doctor", "--json"]])
def test_bare_install_looks_around(arguments: list[str]) -> None:
    """These verbs neither need nor import the extras."""
    code = f"{BLOCKER}\nimport sys\nsys.argv = ['edgevpr', *{arguments!r}]\n"
    code += "from edgevpr.cli.main import main\nmain()\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_modules_import_without_the_extras() -> None:
    """Every module outside the training room imports on the bare install.

    The training room is torch's own, and the parts behind the entries of the compile room import
    what ``edgevpr.optional.require`` has asked for there; everything else imports without extras.
    """
    names = sorted(
        ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")
        for file in package_files()
        if file.endswith(".py") and not file.startswith("edgevpr/train/")
    )
    code = f"""{BLOCKER}
import importlib
from edgevpr.errors import MissingExtraError
failed = []
for name in {[n for n in names if n != "edgevpr.__main__"]!r}:
    try:
        importlib.import_module(name)
    except MissingExtraError:
        pass
    except Exception as error:
        if name.startswith("edgevpr.compile.") and getattr(error, "name", "") in {OPTIONAL!r}:
            continue
        failed.append(f"{{name}}: {{type(error).__name__}}: {{error}}")
print("\\n".join(failed))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "images", "-o", "model"],
        ["embed", "model", "images", "-o", "features"],
        ["eval", "model", "images"],
        ["compile", "model", "-t", "cpu", "-o", "bundle"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_bare_install_names_the_extra(arguments: list[str], tmp_path: Path) -> None:
    """A verb whose extra is not installed gives the pip command."""
    code = f"{BLOCKER}\nimport sys\nsys.argv = ['edgevpr', *{arguments!r}]\n"
    code += "from edgevpr.cli.main import main\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 5, done.stderr
    assert "pip install 'edgevpr[" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["--help", "devices"])
def test_looking_around_loads_nothing_heavy(verb: str) -> None:
    """Help and ``devices`` import none of the heavy packages."""
    heavy = (*OPTIONAL, "cv2", "faiss", "onnxruntime", "numpy")
    code = f"""
import sys
sys.argv = ["edgevpr", {verb!r}]
from edgevpr.cli.main import main
try:
    main()
except SystemExit:
    pass
print("LOADED", *[name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_makefile_says_which_python_it_needs(tmp_path: Path) -> None:
    """An old Python ends in one sentence."""
    old = tmp_path / "python3"
    pretend = 'import sys; sys.version_info = (3, 8, 10, "final", 0); exec(sys.argv[1])'
    old.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{pretend}' \"$2\"\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "-C", str(ROOT), "install", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "found Python 3.8, edgevpr needs 3.10 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()
