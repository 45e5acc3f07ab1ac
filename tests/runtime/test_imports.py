"""Imports of the public face and of the runtime: packages that a device does not need."""

import subprocess
import sys

import pytest

import edgevpr

BLOCKED = (
    "torch", "torchvision", "timm", "lightning", "onnx", "modelopt", "tensorrt", "tensorrt_rtx",
    "pycuda", "sklearn", "scipy", "matplotlib", "rich", "jinja2", "safetensors", "PIL", "gi",
    "rosbags", "mcap", "serial", "rclpy",
)  # fmt: skip
HEAVY = ("cv2", "faiss", "onnxruntime")

BLOCK = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError("blocked: " + name, name=name)

sys.meta_path.insert(0, Blocker())
"""
SHOW = """
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(" ".join(sorted(loaded & set({watched!r}))))
"""
EVERYTHING = """
import edgevpr.runtime
for module in pkgutil.walk_packages(edgevpr.runtime.__path__, "edgevpr.runtime."):
    importlib.import_module(module.name)
import edgevpr.cli.run
"""
FACE = """
import edgevpr
"""
NAMES = """
import edgevpr
for name in edgevpr.__all__:
    getattr(edgevpr, name)
from edgevpr import *
"""


def run_blocking(program: str, blocked: tuple[str, ...], watched: tuple[str, ...]) -> str:
    """The packages of ``watched`` that a fresh interpreter has loaded after ``program``."""
    text = BLOCK.format(blocked=blocked) + program + SHOW.format(watched=watched)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_runtime_imports_without_training_and_compiling() -> None:
    """No torch, onnx, compiler or scikit-learn, directly or through a core module."""
    assert run_blocking(EVERYTHING, BLOCKED, BLOCKED) == ""


def test_runtime_imports_nothing_heavy() -> None:
    """OpenCV, FAISS and ONNX Runtime load where they are used."""
    assert run_blocking(EVERYTHING, BLOCKED + HEAVY, HEAVY) == ""


def test_every_public_name_exists_on_a_bare_install() -> None:
    assert run_blocking(NAMES, BLOCKED, BLOCKED) == ""


def test_import_edgevpr_loads_nothing_else() -> None:
    assert run_blocking(FACE, (), ("numpy", "msgspec", "typer", *BLOCKED, *HEAVY)) == ""


def test_the_face_lists_its_names() -> None:
    assert set(edgevpr.__all__) <= set(dir(edgevpr))
    with pytest.raises(AttributeError, match="no_such_name"):
        edgevpr.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_a_bare_install_says_what_evaluate_needs() -> None:
    program = """
import edgevpr
try:
    edgevpr.evaluate("MODEL", "DATA")
except edgevpr.MissingExtraError as error:
    assert "edgevpr[train]" in str(error)
else:
    raise SystemExit("no error")
"""
    assert run_blocking(program, ("torch",), ()) == ""
