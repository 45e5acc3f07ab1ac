"""Installed packages, read from their metadata: nothing heavy is imported."""

import importlib.util
import platform
import re
from importlib import metadata
from pathlib import Path

import msgspec

from edgevpr.device.board import Board

_REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*\(?([^;)]*)\)?\s*(?:;\s*(.*))?$")

_BUNDLES = ("demo", "dev")


class Package(msgspec.Struct, frozen=True):
    """One requirement of an extra ("" for the bare install) and its installed version."""

    name: str
    extra: str
    required: str
    #: None when it is not installed.
    version: str | None
    #: False when it is missing or outside the range.
    ok: bool


class TensorRT(msgspec.Struct, frozen=True):
    """Where ``import tensorrt`` would come from; ``location`` is empty without one."""

    version: str
    location: str
    #: True for the copy JetPack installs with apt.
    from_system: bool
    problem: str


def packages(requirements: list[str] | None = None) -> list[Package]:
    """Every requirement of edgevpr and its extras, from edgevpr's own metadata."""
    if requirements is None:
        try:
            requirements = metadata.requires("edgevpr") or []
        except metadata.PackageNotFoundError:
            requirements = []
    found = [package for line in requirements if (package := _package(line)) is not None]
    # "demo" and "dev" repeat requirements of the other extras.
    named = {p.name for p in found if p.extra not in _BUNDLES}
    kept = [p for p in found if p.extra not in _BUNDLES or p.name not in named]
    return sorted(kept, key=lambda p: (p.extra, p.name))


def missing(found: list[Package], *extras: str) -> list[Package]:
    """Packages of these extras that are absent or out of range."""
    return [package for package in found if package.extra in extras and not package.ok]


def installed(name: str) -> str | None:
    """Version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def torch_pairing() -> str:
    """One sentence if torch and torchvision do not belong together, else ''.

    They must come from the same index: a CPU build of torch with the public index's torchvision
    fails at import with ``operator torchvision::nms does not exist``.
    """
    torch, vision = installed("torch"), installed("torchvision")
    if torch is None or vision is None:
        return ""
    return judge_pairing(torch, vision, metadata.requires("torchvision") or [])


def judge_pairing(torch: str, vision: str, vision_requires: list[str]) -> str:
    """``torch_pairing`` for given versions and torchvision's own requirements."""
    fix = "install both from one index with pip install --force-reinstall torch torchvision"
    if torch.partition("+")[2] != vision.partition("+")[2]:
        return f"found torch {torch} with torchvision {vision}, expected builds of one kind: {fix}"
    for line in vision_requires:
        found = _REQUIREMENT.match(line)
        if found and found[1] == "torch" and not found[3] and not satisfies(torch, found[2]):
            return f"found torch {torch}, expected {found[2]} for torchvision {vision}: {fix}"
    return ""


def locate_tensorrt(board: Board | None) -> TensorRT:
    """Which copy of TensorRT's Python package Python would import, without importing it."""
    try:
        spec = importlib.util.find_spec("tensorrt")
    except (ImportError, ValueError):
        spec = None
    location = spec.origin or "" if spec else ""
    return judge_tensorrt(installed("tensorrt") or "", location, board)


def judge_tensorrt(version: str, location: str, board: Board | None) -> TensorRT:
    """A copy at ``location``, with its problem on a Jetson or elsewhere."""
    from_system = "dist-packages" in Path(location).parts
    problem = ""
    if board is not None and not location:
        problem = (
            "found no Python package of TensorRT, expected JetPack's: run sudo apt install "
            "python3-libnvinfer and make the venv with --system-site-packages"
        )
    elif board is not None and not from_system:
        problem = (
            f"found the pip package tensorrt at {location}, expected JetPack's, since pip's has no "
            "code for this GPU (CUDA error 35): run pip uninstall tensorrt tensorrt-cu12 "
            "tensorrt-cu13"
        )
    return TensorRT(version, location, from_system, problem)


def satisfies(version: str, specifiers: str) -> bool:
    """Whether a release number lies in a range such as ``>=1.19,<1.22`` (release parts only)."""
    compare = {
        ">=": lambda a, b: a >= b,
        "<=": lambda a, b: a <= b,
        "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        ">": lambda a, b: a > b,
        "<": lambda a, b: a < b,
    }
    for part in filter(None, (text.strip() for text in specifiers.split(","))):
        found = re.match(r"(>=|<=|==|!=|>|<)\s*([\d.]+)(\.\*)?$", part)
        if found and not compare[found[1]](*_aligned(version, found[2])):
            return False
    return True


def _aligned(left: str, right: str) -> tuple[list[int], list[int]]:
    parts = [[int(p) for p in re.findall(r"\d+", re.split(r"[+a-z]", v)[0])] for v in (left, right)]
    width = max(map(len, parts))
    padded = [numbers + [0] * (width - len(numbers)) for numbers in parts]
    return padded[0], padded[1]


def _package(line: str) -> Package | None:
    found = _REQUIREMENT.match(line)
    if not found or found[1] == "edgevpr":
        return None
    name, required, marker = found[1], found[2].strip(), found[3] or ""
    extra = re.search(r"extra\s*==\s*['\"](\w+)['\"]", marker)
    python = re.search(r"python_version\s*(\S+)\s*['\"]([\d.]+)['\"]", marker)
    if python and not satisfies(platform.python_version(), python[1] + python[2]):
        return None  # for another Python
    version = installed(name)
    ok = version is not None and satisfies(version, required)
    return Package(name, extra[1] if extra else "", required, version, ok)
