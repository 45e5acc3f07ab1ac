"""A gallery command, killed at every step it takes on the disk: ``python killed.py ...``.

    killed.py OPERATION SOURCE SCRATCH FEATURES

SOURCE is copied to SCRATCH/001, SCRATCH/002, ... and the operation run on the gallery ``g`` in
each by a process of its own, which dies (SIGKILL) in front of its first, second, ... change to the
file system. The last one lives. Prints how many there were.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgevpr.artifacts.generations import rollback
from edgevpr.compile.gallery_updates import change

#: Python tells an audit hook of these before it does them; ``ctypes.dlsym`` is the exchange of
#: two folders.
STEPS = {
    "open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.truncate",
    "os.chmod", "shutil.rmtree", "shutil.copyfile", "ctypes.dlsym",
}  # fmt: skip


def operations(features: Path) -> dict[str, Callable[[Path], object]]:
    return {
        "add": lambda gallery: change.add(gallery, features),
        "remove": lambda gallery: change.remove(gallery, place=[3]),
        "compact": lambda gallery: change.compact(gallery, keep=1),
        "rollback": rollback,
    }


def die_at(step: int) -> None:
    """Let this process kill itself in front of its ``step``-th change to the file system."""
    taken = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal taken
        if event not in STEPS:
            return
        if event == "open" and not (
            isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            return
        taken += 1
        if taken == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main() -> None:
    operation, source, scratch, features = sys.argv[1], *map(Path, sys.argv[2:5])
    run = operations(features)[operation]
    step, killed = 0, True
    while killed:
        step += 1
        folder = scratch / f"{step:03d}"
        shutil.copytree(source, folder)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                die_at(step)
                run(folder / "g")
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        if not killed and os.waitstatus_to_exitcode(status):
            sys.exit(f"{operation} failed by itself at step {step}")
    print(step)


if __name__ == "__main__":
    main()
