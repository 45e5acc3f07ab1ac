"""Device context: processor names, clock, this machine."""

from pathlib import Path

import msgspec

from edgevpr.artifacts.records import DeviceContext
from edgevpr.profiles.context import device_context, parse_cpu_mhz, parse_cpu_model

X86 = "processor\t: 0\nmodel name\t: Some  CPU @ 2.60GHz\ncpu MHz\t\t: 2596.122\n"
ORIN = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n"


def test_processor_names() -> None:
    """Arm boards, which print numbers, included."""
    assert parse_cpu_model(X86) == "Some CPU @ 2.60GHz"
    assert parse_cpu_mhz(X86) == 2596.122
    assert parse_cpu_model(ORIN) == "Arm Cortex-A78AE"
    assert parse_cpu_mhz(ORIN) is None
    assert parse_cpu_model("") == ""


def test_this_machine_is_described() -> None:
    """The context survives JSON."""
    context = device_context(threads={"faiss": "1"})
    assert context.cpus >= 1
    assert context.memory_gb > 0
    assert context.rss_mb > 0
    assert context.threads["faiss"] == "1"
    assert "numpy" in context.packages
    assert msgspec.json.decode(msgspec.json.encode(context), type=DeviceContext) == context


def test_governor_and_clock_are_read(tmp_path: Path) -> None:
    """The kernel's kHz become MHz."""
    folder = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text("schedutil\n")
    (folder / "scaling_cur_freq").write_text("1510400\n")
    context = device_context(tmp_path)
    assert context.governor == "schedutil"
    assert context.cpu_mhz == 1510.4
