"""Compile targets and boards, read from TOML data files.

One file a target in ``edgevpr/profiles/devices/``. A board names its family; fields that its file
leaves out come from the family's. Which TensorRT a JetPack ships stands once, in ``jetpacks.toml``.
Numbers not read in a document or on a board are listed in ``unverified``.
"""

import difflib
import functools
import re
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgevpr.errors import UnknownTargetError

Runtime = Literal["onnxruntime", "tensorrt", "tensorrt-rtx"]

#: The chip in the last entry of the device tree's ``compatible``, for boards no profile lists.
CHIPS = {"tegra234": "jetson-orin", "tegra264": "jetson-thor", "tegra194": "jetson-xavier"}


class SuperMode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures of a board after the vendor's "Super" update; None: not known."""

    gpu_mhz: int | None = None
    int8_tops: float | None = None
    bandwidth_gbs: float | None = None


class JetPack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of ``jetpacks.toml``: a range of JetPack releases with the same TensorRT."""

    name: str
    #: first and last L4T release, both included, for example ("36.4.0", "36.5.0").
    l4t: tuple[str, str]
    cuda: str
    tensorrt: str
    python: str
    ubuntu: str
    #: compute capabilities whose boards this JetPack runs on.
    sm: list[int]
    unverified: list[str] = []


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A target of compilation: a family of GPUs, or one board."""

    name: str
    title: str
    #: the family this belongs to; a family's own name for a family.
    family: str
    runtime: Runtime
    #: CUDA compute capability times ten (87 is sm_87); None: none, or decided by the machine.
    sm: int | None = None
    #: further capabilities of the same family.
    also_sm: list[int] = []
    cuda_cores: int | None = None
    tensor_cores: int | None = None
    gpu_mhz: int | None = None
    #: sparse, as vendors print it; dense is half.
    int8_tops: float | None = None
    fp4_tops: float | None = None
    #: deep learning accelerators; on a family, the least of its members.
    dla: int = 0
    memory_gb: float | None = None
    bandwidth_gbs: float | None = None
    super_mode: SuperMode | None = None
    #: module part numbers as ``/proc/device-tree`` and ``jetson_release`` print them.
    part_numbers: list[str] = []
    #: nvpmodel id -> name. Id 0 is not always the fastest.
    power_modes: dict[str, str] = {}
    #: power budgets in words, where the ids are not known.
    power_budgets: str = ""
    #: JetPack -> the TensorRT it ships. Filled from ``jetpacks.toml``.
    tensorrt: dict[str, str] = {}
    #: JetPack -> a newer TensorRT that can be installed on it.
    tensorrt_installable: dict[str, str] = {}
    #: names of fields above that are from memory and must not be relied on.
    unverified: list[str] = []
    notes: list[str] = []
    sources: list[str] = []

    @property
    def is_jetson(self) -> bool:
        """True for a Jetson family or board, whose engines are built on the board itself."""
        return self.family.startswith("jetson-")

    @property
    def is_board(self) -> bool:
        """True for one board, False for a family or a machine."""
        return self.name != self.family


@functools.cache
def all_targets() -> list[Target]:
    """Every known target: ``cpu`` first, then RTX families, then Jetson families and boards."""
    raw = _read_devices()
    rank = {"onnxruntime": 0, "tensorrt-rtx": 1, "tensorrt": 2}
    targets = [_target(name, raw) for name in raw]
    return sorted(targets, key=lambda t: (rank[t.runtime], t.family, t.is_board, t.name))


def load_target(name: str) -> Target:
    """The target with this name.

    Raises:
        UnknownTargetError: there is none; the message lists the known ones.
    """
    targets = {target.name: target for target in all_targets()}
    if name in targets:
        return targets[name]
    close = difflib.get_close_matches(name.lower(), targets, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UnknownTargetError(
        f"found no target named {name!r}; {hint}expected one of {', '.join(targets)}: "
        "run edgevpr devices to see them"
    )


def family(name: str) -> list[Target]:
    """The boards of a family, without the family itself."""
    return [target for target in all_targets() if target.family == name and target.is_board]


def this_board(root: Path = Path("/")) -> str:
    """Name of the Jetson that this is, by its device tree; its family's where no profile lists it.

    Args:
        root: where the file system starts.

    Returns:
        the empty string on anything but a Jetson.
    """
    try:
        text = (root / "proc/device-tree/compatible").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return board_of([word for word in text.replace("\n", "").split("\0") if word])


def board_of(compatible: list[str]) -> str:
    """Board or family for the words of a device tree's ``compatible``; '' where there is none."""
    parts = part_numbers(compatible)
    for target in all_targets():
        if parts & set(target.part_numbers):
            return target.name
    for word in compatible:
        if word.startswith("nvidia,") and (chip := CHIPS.get(word.removeprefix("nvidia,"))):
            return chip
    return ""


def part_numbers(compatible: list[str]) -> set[str]:
    """Module part numbers among those words, for example ``p3767-0000``."""
    return {part for word in compatible for part in re.findall(r"p\d{4}-\d{4}", word)}


@functools.cache
def jetpacks() -> list[JetPack]:
    """The JetPack releases whose contents are known, oldest first."""
    return msgspec.toml.decode(_text("jetpacks.toml"), type=dict[str, list[JetPack]])["jetpack"]


def jetpack_of(l4t: str) -> JetPack | None:
    """The JetPack row of an L4T release such as ``36.4.3``, or None if it is not known."""
    found = _version(l4t)
    for row in jetpacks():
        # A bound of two numbers, 36.3, stands for every 36.3.x.
        low, high = (_version(bound) for bound in row.l4t)
        if low <= found[: len(low)] and found[: len(high)] <= high:
            return row
    return None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _read_devices() -> dict[str, dict[str, Any]]:
    folder = resources.files("edgevpr") / "profiles" / "devices"
    return {
        file.name.removesuffix(".toml"): msgspec.toml.decode(file.read_text(encoding="utf-8"))
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".toml")
    }


def _target(name: str, raw: dict[str, dict[str, Any]]) -> Target:
    own = raw[name]
    inherited = {} if own["family"] == name else dict(raw[own["family"]])
    # Remarks on a family ("on a board, the board decides") are not about one board.
    for remark in ("notes", "sources"):
        inherited.pop(remark, None)
    merged = {**inherited, **own, "name": name}
    merged["unverified"] = inherited.get("unverified", []) + own.get("unverified", [])
    target = msgspec.convert(merged, Target)
    if not target.is_jetson:
        return target
    shipped = [row for row in jetpacks() if target.sm in row.sm]
    doubtful = [f"tensorrt {row.name}" for row in shipped if "tensorrt" in row.unverified]
    return msgspec.structs.replace(
        target,
        tensorrt={row.name: row.tensorrt for row in shipped},
        unverified=target.unverified + doubtful,
    )


def _text(name: str) -> str:
    return (resources.files("edgevpr") / "profiles" / name).read_text(encoding="utf-8")
