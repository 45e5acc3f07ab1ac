"""Description of the processor: name, instructions, clock, free memory.

Files of /proc and /sys are read below a root, so that recorded ones can be read anywhere.
"""

import functools
import os
import platform
from pathlib import Path

#: Cores of Jetsons and of Arm servers by ``CPU part``; Arm kernels print no model name.
_ARM_PARTS = {
    "0xd42": "Arm Cortex-A78AE",
    "0xd83": "Arm Neoverse-V3AE",
    "0x004": "NVIDIA Carmel",
}
#: Clock of a Jetson's processor in its usual power modes, MHz: 1500 to 2200 by board and mode.
JETSON_MHZ = 1700.0
#: Clock assumed for an x86 processor that prints none.
X86_MHZ = 3000.0


@functools.cache
def cpu_name() -> str:
    """Processor and cores of this machine, for example ``AMD EPYC, 2 cores``."""
    return f"{processor()}, {os.cpu_count()} cores"


def processor(root: Path = Path("/")) -> str:
    """The processor's name as the kernel gives it, or by its Arm part number."""
    info = _cpuinfo(root)
    if model := " ".join(info.get("model name", "").split()):
        return model
    part = info.get("CPU part", "").lower()
    if part in _ARM_PARTS:
        return _ARM_PARTS[part]
    return (
        info.get("Model")
        or (part and f"Arm part {part}")
        or platform.processor()
        or platform.machine()
    )


def cpu_mhz(root: Path = Path("/")) -> float | None:
    """Clock of core 0 now, or as the kernel prints it; None: not known."""
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
    kilohertz = _text(frequency).strip()
    if kilohertz.isdigit():
        return int(kilohertz) / 1000
    printed = _cpuinfo(root).get("cpu MHz", "")
    return float(printed) if printed else None


def usual_mhz() -> float:
    """Clock of the fastest core as /proc/cpuinfo prints it, or the usual one of its kind."""
    lines = _text(Path("/proc/cpuinfo")).splitlines()
    fields = (line.partition(":") for line in lines)
    printed = [float(value) for key, _, value in fields if key.strip() == "cpu MHz"]
    if printed:
        return max(printed)
    return X86_MHZ if platform.machine() == "x86_64" else JETSON_MHZ


@functools.cache
def has_int8_dot_product() -> bool:
    """Whether int8 is multiplied and added into 32 bits in one step, without saturation."""
    if platform.machine() in ("aarch64", "arm64"):
        return True
    flags = _cpuinfo(Path("/")).get("flags", "").split()
    return bool({"avx512_vnni", "avx_vnni", "amx_int8"} & set(flags))


def free_memory() -> int:
    """Bytes of memory available now; a Jetson's GPU shares them."""
    for line in _text(Path("/proc/meminfo")).splitlines():
        key, _, value = line.partition(":")
        if key == "MemAvailable":
            return int(value.split()[0]) << 10
    return 1 << 30


def _cpuinfo(root: Path) -> dict[str, str]:
    """Fields of the first core in /proc/cpuinfo."""
    fields = (line.partition(":") for line in _text(root / "proc/cpuinfo").splitlines())
    return {key.strip(): value.strip() for key, _, value in reversed(list(fields))}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
