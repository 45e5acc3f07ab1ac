"""The machine that compiles or builds: its name for evidence, and what its CPU can do."""

import functools
import os
import platform
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
