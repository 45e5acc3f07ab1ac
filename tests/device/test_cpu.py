"""The processor's name and clock, from files as x86 and Arm kernels write them."""

from pathlib import Path

import pytest

from edgevpr.device.cpu import cpu_mhz, processor

X86 = "processor\t: 0\nmodel name\t: Some  CPU @ 2.60GHz\ncpu MHz\t\t: 2596.122\n"
ORIN = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n"
OTHER = "processor\t: 0\nCPU part\t: 0xABC\n"
PI = "processor\t: 0\nCPU part\t: 0xd08\n\nModel\t: Raspberry Pi 4\n"


@pytest.mark.parametrize(
    ("cpuinfo", "name", "mhz"),
    [
        (X86, "Some CPU @ 2.60GHz", 2596.122),
        (ORIN, "Arm Cortex-A78AE", None),
        (OTHER, "Arm part 0xabc", None),
        (PI, "Raspberry Pi 4", None),
    ],
)
def test_processors_are_named(tmp_path: Path, cpuinfo: str, name: str, mhz: float | None) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(cpuinfo)
    assert processor(tmp_path) == name
    assert cpu_mhz(tmp_path) == mhz


def test_a_machine_without_cpuinfo_has_a_name(tmp_path: Path) -> None:
    assert processor(tmp_path)
    assert cpu_mhz(tmp_path) is None
