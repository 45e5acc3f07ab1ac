"""The machine that compiles or builds: its name for evidence, and what its CPU can do."""

import functools
import os
import platform
import re
from pathlib import Path

import msgspec


class Here(msgspec.Struct, frozen=True):
    """The board an engine is built on; empty strings on anything but a Jetson."""

    #: device profile, or the family where no profile lists it.
    target: str = ""
    #: as its device tree names it.
    model: str = ""
    jetpack: str = ""


@functools.cache
def cpu_name() -> str:
    """For example ``AMD EPYC, 2 cores``."""
    return f"{processor()}, {os.cpu_count()} cores"


def processor() -> str:
    """The processor as the system calls it; a board without that names itself."""
    info = _cpuinfo()
    return info.get("model name") or info.get("Model") or platform.processor() or platform.machine()


@functools.cache
def has_int8_dot_product() -> bool:
    """True if the CPU multiplies and adds int8 into 32 bits in one step, without saturation."""
    flags = _cpuinfo().get("flags", "").split()
    if platform.machine() in ("aarch64", "arm64"):
        return True
    return bool({"avx512_vnni", "avx_vnni", "amx_int8"} & set(flags))


@functools.cache
def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    fields = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in reversed(list(fields))}


def free_memory() -> int:
    """Bytes of memory available now; a Jetson's GPU shares them."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key == "MemAvailable":
            return int(value.split()[0]) << 10
    return 1 << 30


#: Clock of a Jetson's processor in its usual power modes, MHz: 1,500 to 2,200 by board and mode.
_BOARD_MHZ = 1700.0


def _clock_mhz() -> float:
    """What ``/proc/cpuinfo`` says, or 3,000."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.findall(r"cpu MHz\s*:\s*([\d.]+)", text)
    if found:
        return max(float(mhz) for mhz in found)
    return 3000.0 if platform.machine() == "x86_64" else _BOARD_MHZ
