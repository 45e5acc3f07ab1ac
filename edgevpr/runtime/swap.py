"""Replacement of a run's bundle or gallery, while it goes on, by one that answers as well.

Artifacts are replaced by a rename, so that the same path leads to another one. On request, or when
it notices by itself, a ``Swap`` opens the new pair in a thread beside the running one and gives it
the same frames for a while. Bundle and gallery are always opened as a pair, so that those of a new
descriptor space arrive together. Whatever is wrong with the new pair is reported in one line, and
the old pair goes on.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edgevpr.artifacts.manifest import MANIFEST
from edgevpr.errors import EdgeVPRError
from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.localizer_thread import LocalizerThread
from edgevpr.runtime.shadow import Limits, Shadow
from edgevpr.runtime.sources.frames import Frame

POLL_S = 1.0
#: How often a pair is opened again because it was replaced while it was being opened.
_TRIES = 3


class Swap:
    """Opens and compares what may replace a run's localizer; for the loop's thread.

    Args:
        open: gives the localizer of the pair at ``paths``, not open; called in a new thread.
        paths: the artifact folders.
        notify: called with one line on every swap and every pair refused.
        limits: bounds for the new pair.
        watch: check the paths every second; else only when requested.
    """

    def __init__(
        self,
        open: Callable[[], Localizer],
        paths: Sequence[Path],
        notify: Callable[[str], None],
        *,
        limits: Limits | None = None,
        watch: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self._open = open
        self._paths = list(paths)
        self._notify = notify
        self._watch = watch
        self._requested = threading.Event()
        #: contents that run, and those tried last: each is tried once unless requested.
        self._running = self._tried = fingerprint(self._paths)
        self._seen = self._running
        self._checked = time.monotonic()
        self._candidate: LocalizerThread | None = None
        #: the candidate is open.
        self._ready = False
        #: id of the frame submitted to the candidate, and the running localizer's answer to it.
        self._shadowed: int | None = None
        self._answer: Answer | FrameError | None = None
        self._shadow = Shadow(self.limits)

    def request(self) -> None:
        """Check for a new pair at the next frame; may be called by a signal handler."""
        self._requested.set()

    def offer(self, frame: Frame) -> None:
        """Take a frame of the running localizer; an idle candidate gets it too."""
        self._check_paths()
        worker = self._candidate
        if worker is None or self._shadowed is not None:
            return
        try:
            self._ready = self._ready or worker.ready()
        except BaseException as error:
            self._refuse(_sentence(error))
            return
        if self._ready and not self._shadow.complete():
            worker.submit(frame)
            self._shadowed = frame.id

    def compare(self, item: Answer | FrameError) -> None:
        """Take an answer of the running localizer."""
        if self._shadowed is not None and item.frame == self._shadowed:
            self._answer = item
        self._compare_answers()

    def replacement(self) -> LocalizerThread | None:
        """The thread that takes over now, the caller's to close; None while there is none."""
        self._compare_answers()
        worker = self._candidate
        if worker is None or not self._ready or not self._shadow.complete():
            return None
        if not self._shadow.passed():
            self._refuse(self._shadow.sentence())
            return None
        self._notify(f"swapped to the new {self._names()}: {self._shadow.sentence()}")
        self._running = self._tried
        self._candidate = None
        self._clear()
        return worker

    def close(self) -> None:
        """End a comparison that is not over; the running thread is the caller's."""
        if self._candidate is not None:
            self._refuse("the run ended before the comparison did")

    def _check_paths(self) -> None:
        """Start to open what is at the paths, if there is a reason to."""
        requested = self._requested.is_set()
        due = self._watch and time.monotonic() - self._checked > POLL_S
        if self._candidate is not None or not (requested or due):
            return
        self._requested.clear()
        self._checked = time.monotonic()
        found = fingerprint(self._paths)
        # The same twice in a row: not in the middle of a copy.
        settled, self._seen = found == self._seen, found
        if requested and found == self._running:
            self._notify(f"the {self._names()} are those that run; nothing to swap")
        elif requested or (settled and found != self._tried and "" not in found):
            self._candidate = LocalizerThread(self._open_whole)
            self._candidate.start()

    def _open_whole(self) -> Localizer:
        """The localizer of the pair at the paths, both from after the same replacement."""
        for _ in range(_TRIES):
            self._tried = fingerprint(self._paths)
            try:
                localizer = self._open()
            except EdgeVPRError:
                if fingerprint(self._paths) == self._tried:
                    raise
            else:
                if fingerprint(self._paths) == self._tried:
                    return localizer
        raise EdgeVPRError(
            f"found the {self._names()} replaced {_TRIES} times while they were being opened, "
            "expected them to stay for a moment: ask again with SIGHUP"
        )

    def _compare_answers(self) -> None:
        """Compare both answers to the same frame once they are there."""
        worker = self._candidate
        if worker is None or self._answer is None or not worker.done():
            return
        try:
            theirs = worker.result()
        except BaseException as error:
            self._refuse(_sentence(error))
            return
        self._shadow.add(self._answer, theirs)
        self._answer = self._shadowed = None

    def _refuse(self, why: str) -> None:
        if self._candidate is not None:
            self._candidate.close(wait=False)
        self._candidate = None
        self._clear()
        self._notify(f"kept the old {self._names()}: {why}")

    def _clear(self) -> None:
        self._ready = False
        self._shadowed = self._answer = None
        self._shadow = Shadow(self.limits)

    def _names(self) -> str:
        return " and ".join(str(path) for path in self._paths)


def fingerprint(paths: Sequence[Path]) -> tuple[str, ...]:
    """SHA-256 of each artifact's manifest, which names the digest of every other file; "" where
    there is none to read."""
    digests = []
    for path in paths:
        try:
            digests.append(hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest())
        except OSError:
            digests.append("")
    return tuple(digests)


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, EdgeVPRError) else f"{type(error).__name__}: {error}"
