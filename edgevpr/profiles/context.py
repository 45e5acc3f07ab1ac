"""Device context of a measurement: machine, settings, load, versions."""

import os
import platform
import resource
from datetime import datetime
from pathlib import Path

from edgevpr import __version__
from edgevpr.artifacts.records import DeviceContext
from edgevpr.device.board import read_board
from edgevpr.device.cpu import cpu_mhz, processor
from edgevpr.device.gpu import find_gpus
from edgevpr.device.packages import installed

#: Packages whose version changes latency or recall.
PACKAGES = (
    "numpy",
    "faiss-cpu",
    "onnxruntime",
    "opencv-python-headless",
    "tensorrt",
    "tensorrt-rtx",
    "torch",
    "timm",
)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def device_context(
    root: Path = Path("/"), *, threads: dict[str, str] | None = None
) -> DeviceContext:
    """Describe this machine as it is now.

    Args:
        root: where its /proc, /sys and /etc start.
        threads: settings to record besides the environment's, for example {"faiss": "1"}.
    """
    board = read_board(root)
    gpus, _ = find_gpus()
    cpu = processor(root)
    cpus = len(os.sched_getaffinity(0))
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq"
    found = {name: installed(name) for name in PACKAGES}
    return DeviceContext(
        name=board.model if board and board.model else f"{cpu}, {cpus} cores",
        time=datetime.now().astimezone().isoformat(timespec="seconds"),
        cpu=cpu,
        cpus=cpus,
        arch=platform.machine(),
        platform=platform.platform(),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        governor=_text(frequency / "scaling_governor").strip(),
        cpu_mhz=cpu_mhz(root),
        load=os.getloadavg(),
        threads={k: os.environ[k] for k in THREADS if k in os.environ} | (threads or {}),
        rss_mb=peak_memory_mb(),
        gpus=[f"{gpu.name} (sm_{gpu.sm}, {gpu.memory_gb:g} GB)" for gpu in gpus],
        board=board.target if board else "",
        power_mode=board.power_mode if board else "",
        jetpack=f"{board.jetpack} (L4T {board.l4t})" if board else "",
        python=platform.python_version(),
        packages={"edgevpr": __version__} | {k: v for k, v in found.items() if v is not None},
    )


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
