"""Device context: processor names, clock, this machine."""

from pathlib import Path

import msgspec

from edgevpr.artifacts.records import DeviceContext
from edgevpr.profiles.context import device_context


def test_this_machine_is_described() -> None:
    """Catches a context that cannot be written as JSON and read back."""
    context = device_context(threads={"faiss": "1"})
    assert context.cpus >= 1
    assert context.memory_gb > 0
    assert context.rss_mb > 0
    assert context.threads["faiss"] == "1"
    assert "numpy" in context.packages
    assert msgspec.json.decode(msgspec.json.encode(context), type=DeviceContext) == context


def test_governor_and_clock_are_read(tmp_path: Path) -> None:
    """Catches a frequency in kHz taken for MHz."""
    folder = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text("schedutil\n")
    (folder / "scaling_cur_freq").write_text("1510400\n")
    context = device_context(tmp_path)
    assert context.governor == "schedutil"
    assert context.cpu_mhz == 1510.4
