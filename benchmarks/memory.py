"""Memory of this process, for the benchmarks."""

import threading
import time
from pathlib import Path


def memory(field: str) -> float:
    """MiB of this process, from /proc/self/status: RssAnon, RssFile, VmHWM; NaN elsewhere."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.is_file() else []:
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return float("nan")


class Watch:
    """The most private memory (RssAnon) from here on: pages of mapped files belong to the system's
    cache.

    Args:
        every_s: seconds from one reading to the next.
    """

    def __init__(self, every_s: float = 0.02) -> None:
        self.before = self._most = memory("RssAnon")
        self._every_s = every_s
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            self.most()
            time.sleep(self._every_s)

    def most(self) -> float:
        """MiB, at its most so far."""
        self._most = max(self._most, memory("RssAnon"))
        return self._most
