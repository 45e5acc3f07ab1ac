"""Surroundings of the process that a verb may count on: open descriptors, signals as interrupts."""

import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

#: Signals that end a program, and that Ctrl-C stands for.
_ENDS = (signal.SIGTERM, signal.SIGHUP)


def open_standard_streams() -> None:
    """Put /dev/null where descriptors 0 to 2 are closed (``2>&-``), and Python's streams on it.

    Otherwise the next file that is opened gets the number, and remarks are written into it. The
    same where 1 or 2 can only be read: a shell that runs a script without the descriptor opens the
    script under its number and hands it on.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
        if mode == "w" and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            os.close(null)
        if getattr(sys, name) is None:
            stream = open(number, mode, closefd=False, encoding="utf-8")  # noqa: SIM115 - stays open
            setattr(sys, name, stream)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does: ``with`` blocks clean up.

    A signal that the caller had ignored (nohup) stays ignored. Processes forked in the block are
    ended by such a signal as always.
    """
    process = os.getpid()

    def interrupt(number: int, _: FrameType | None) -> None:
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        raise KeyboardInterrupt

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread, which gets no signals
        for number in _ENDS:
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
