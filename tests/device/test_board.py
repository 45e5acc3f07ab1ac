"""Boards are recognised from the files they carry; lines as Jetsons print them."""

from pathlib import Path

import pytest

from edgevpr.device.board import (
    parse_power_modes,
    parse_power_status,
    parse_tegra_release,
    read_board,
)

RELEASE = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
)
NVPMODEL = """\
# comment: < POWER_MODEL ID=9 NAME=COMMENTED >
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< POWER_MODEL ID=3 NAME=7W >
< PM_CONFIG DEFAULT=1 >
"""


def jetson(root: Path, *, model: str, compatible: list[str], release: str = RELEASE) -> Path:
    """A file system as a Jetson has it: device-tree strings end with NUL."""
    files = {
        "proc/device-tree/model": model + "\0",
        "proc/device-tree/compatible": "".join(name + "\0" for name in compatible),
        "etc/nv_tegra_release": release,
        "etc/nvpmodel.conf": NVPMODEL,
        "var/lib/nvpmodel/status": "pmode:0002",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_orin_nano_super_is_recognised(tmp_path: Path) -> None:
    """A suffix of the part number is left out; the power mode has its id and its name."""
    root = jetson(
        tmp_path,
        model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        compatible=["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"],
    )
    board = read_board(root)
    assert board is not None
    assert board.target == "jetson-orin-nano-8gb"
    assert (board.l4t, board.jetpack, board.tensorrt, board.cuda) == (
        "36.4.3",
        "6.1",
        "10.3",
        "12.6",
    )
    assert board.power_mode == "2 MAXN_SUPER"
    assert board.power_modes == {"0": "15W", "1": "25W", "2": "MAXN_SUPER", "3": "7W"}
    assert board.model.endswith("Super")


def test_unlisted_module_falls_back_to_its_family(tmp_path: Path) -> None:
    """A module that no profile lists is a Jetson of its family."""
    root = jetson(tmp_path, model="Some carrier", compatible=["acme,box", "nvidia,tegra234"])
    board = read_board(root)
    assert board is not None
    assert board.target == "jetson-orin"


def test_unknown_release_leaves_the_jetpack_open(tmp_path: Path) -> None:
    """An L4T release that jetpacks.toml lacks gives no JetPack and no TensorRT."""
    release = RELEASE.replace("R36", "R41")
    root = jetson(tmp_path, model="X", compatible=["nvidia,p3701-0005"], release=release)
    board = read_board(root)
    assert board is not None
    assert (board.target, board.jetpack, board.tensorrt) == ("jetson-agx-orin-64gb", "", "")


def test_a_pc_is_no_board(tmp_path: Path) -> None:
    """Neither a PC nor an Arm server with a device tree is a Jetson."""
    assert read_board(tmp_path) is None
    tree = tmp_path / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_text("Raspberry Pi 5 Model B\0")
    (tree / "compatible").write_text("raspberrypi,5-model-b\0brcm,bcm2712\0")
    assert read_board(tmp_path) is None


@pytest.mark.parametrize(
    ("line", "release"),
    [
        (RELEASE, "36.4.3"),
        ("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref", "35.4.1"),
        ("# R38 (release), REVISION: 2.0, GCID: 1", "38.2.0"),
        ("", ""),
        ("something else", ""),
    ],
)
def test_tegra_release(line: str, release: str) -> None:
    assert parse_tegra_release(line) == release


def test_power_files() -> None:
    """Commented modes are left out; a fan line in the status is passed over."""
    assert "9" not in parse_power_modes(NVPMODEL)
    assert parse_power_status("pmode:0000\nfmode:quiet\n") == "0"
    assert parse_power_status("garbage") == ""
