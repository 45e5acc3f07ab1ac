"""GStreamer for tests: PyGObject from where it is installed, and a server to connect to.

PyGObject has no wheels; Debian's python3-gi belongs to the system's Python. A virtual environment
of the same Python version can load it, so a link to that one package is put on the path.
"""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

_SYSTEM = Path("/usr/lib/python3/dist-packages/gi")
_SERVER = Path(__file__).with_name("rtsp_server.py")


def link_gi(folder: Path) -> str:
    """Put a link to the system's PyGObject into ``folder``; why that is of no use, or ''."""
    if importlib.util.find_spec("gi") is None:
        built = f"_gi.{sys.implementation.cache_tag}-"
        if not any(p.name.startswith(built) for p in _SYSTEM.glob("*.so")):
            return f"no PyGObject for Python {sys.version_info[0]}.{sys.version_info[1]} here"
        (folder / "gi").symlink_to(_SYSTEM)
    return ""


def environment(folder: Path) -> dict[str, str]:
    """For a process that is to find PyGObject in ``folder``."""
    path = [str(Path(__file__).resolve().parents[2]), str(folder), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


class RtspServer:
    """A process that serves a moving test picture; it can be killed, frozen and started again."""

    def __init__(self, gi: Path) -> None:
        self.gi = gi
        self._port = "0"
        self.start()

    @property
    def uri(self) -> str:
        return f"rtsp://127.0.0.1:{self._port}/camera"

    def start(self) -> None:
        """On the same port as before."""
        self._process = subprocess.Popen(
            [sys.executable, str(_SERVER), self._port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(self.gi),
        )
        assert self._process.stdout is not None
        self._port = self._process.stdout.readline().strip()
        assert self._port, "the RTSP server did not start"

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)
