"""Reader of a Jetson's own files: device tree, L4T release, power modes.

All functions take the root of a file system, so that files recorded on boards can be read anywhere.
"""

import re
from pathlib import Path

import msgspec

from edgevpr.device.targets import board_of, jetpack_of, part_numbers


class Board(msgspec.Struct, frozen=True):
    """A Jetson as its own files describe it; empty strings for facts they lack."""

    model: str
    part_numbers: list[str]
    #: the device profile, or the family when no profile lists the part number.
    target: str
    l4t: str
    jetpack: str
    #: the TensorRT and CUDA which that JetPack ships.
    tensorrt: str
    cuda: str
    #: nvpmodel id and name in force, for example "2 MAXN_SUPER".
    power_mode: str
    power_modes: dict[str, str]


def read_board(root: Path = Path("/")) -> Board | None:
    """The Jetson whose file system starts at ``root``, or None on anything else."""
    compatible = _words(root / "proc/device-tree/compatible")
    release = _text(root / "etc/nv_tegra_release")
    parts = sorted(part_numbers(compatible))
    target = board_of(compatible)
    if not target and not release:
        return None
    l4t = parse_tegra_release(release)
    jetpack = jetpack_of(l4t) if l4t else None
    modes = parse_power_modes(_text(root / "etc/nvpmodel.conf"))
    mode = parse_power_status(_text(root / "var/lib/nvpmodel/status"))
    return Board(
        model=" ".join(_words(root / "proc/device-tree/model")),
        part_numbers=parts,
        target=target,
        l4t=l4t,
        jetpack=jetpack.name if jetpack else "",
        tensorrt=jetpack.tensorrt if jetpack else "",
        cuda=jetpack.cuda if jetpack else "",
        power_mode=f"{mode} {modes.get(mode, '')}".strip(),
        power_modes=modes,
    )


def parse_tegra_release(text: str) -> str:
    """``# R36 (release), REVISION: 4.3, ...`` -> ``36.4.3``; anything else -> ''."""
    found = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text)
    return f"{found[1]}.{found[2]}".rstrip(".") if found else ""


def parse_power_modes(text: str) -> dict[str, str]:
    """The ``< POWER_MODEL ID=0 NAME=15W >`` lines of nvpmodel.conf -> ``{"0": "15W"}``."""
    lines = re.findall(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", text, re.MULTILINE)
    return {str(int(number)): name for number, name in lines}


def parse_power_status(text: str) -> str:
    """``pmode:0002`` -> ``2``; anything else -> ''."""
    found = re.search(r"pmode:(\d+)", text)
    return str(int(found[1])) if found else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _words(path: Path) -> list[str]:
    """Strings of a device-tree property, which separates and ends them with NUL."""
    return [word for word in _text(path).replace("\n", "").split("\0") if word]
