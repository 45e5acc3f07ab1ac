"""Surroundings of the process that a verb may count on: open descriptors, signals as interrupts."""

import atexit
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

#: Ctrl-C, and the signals that it stands for here.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What an interrupted command says, and ends with.
INTERRUPTED = "interrupted: no output is half-written, run the same command again"
EXIT_CODE = 130


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


def _end(number: int, _: FrameType | None) -> None:
    """End the process where it stands, with the sentence and the code of an interrupted command."""
    with contextlib.suppress(OSError):
        os.write(2, f"edgevpr: {INTERRUPTED}\n".encode())
    os._exit(EXIT_CODE)


def end_at_once() -> None:
    """Have a signal end the process with its sentence, without raising anything.

    For the moments when nothing is written yet, or any more: modules that are being imported turn
    a KeyboardInterrupt into errors of their own, or lose it.
    """
    for number in _taken():
        signal.signal(number, _end)
    # The first one registered runs last. Then the interpreter takes down modules, for some tenths
    # of a second, and would have the system end it by the signal: after a verb that has succeeded.
    atexit.register(_ignore)


def _ignore() -> None:
    for number in _taken():
        signal.signal(number, signal.SIG_IGN)


def _taken() -> list[signal.Signals]:
    """The signals whose handlers are Python's, the system's or ``end_at_once``'s; what the caller
    has ignored (nohup) stays ignored."""
    ours = (signal.SIG_DFL, signal.default_int_handler, _end)
    return [number for number in _ENDS if signal.getsignal(number) in ours]


class Interruption:
    """Whether a signal came."""

    came = False


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does: ``with`` blocks clean up.

    A signal that the caller had ignored (nohup) stays ignored. Processes forked in the block are
    ended by such a signal as always.

    Yields:
        whether a signal came: libraries make errors of their own out of a KeyboardInterrupt.
    """
    process, told = os.getpid(), Interruption()

    def interrupt(number: int, _: FrameType | None) -> None:
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        told.came = True
        raise KeyboardInterrupt

    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread, which gets no signals
        for number in _taken():
            before[number] = signal.signal(number, interrupt)
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
