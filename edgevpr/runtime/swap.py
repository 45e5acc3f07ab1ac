"""A new bundle or gallery takes over while the robot drives, if it answers as well and as fast.

Artifacts are replaced by a rename, so the same path soon leads to another one. Asked to, or seeing
that by itself, a swap opens the new pair in a lane beside the running one and gives it the same
frames for a while. Bundle and gallery are always opened as a pair, so that those of a new
descriptor space arrive together. Whatever is wrong with the new pair is said in one line, and the
old one goes on: it has never stopped.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edgevpr.artifacts.manifest import MANIFEST
from edgevpr.errors import EdgeVPRError
from edgevpr.runtime.answers import Answer, FrameError
from edgevpr.runtime.lane import Lane
from edgevpr.runtime.localizer import Localizer
from edgevpr.runtime.shadow import Limits, Shadow
from edgevpr.runtime.sources.frames import Frame

POLL_S = 1.0
#: How often a pair is opened again because it was replaced while it was being opened.
_TRIES = 3


class Swap:
    """Opens, compares and offers what may replace the lane of a run; for the loop's thread.

    Args:
        open: opens the pair at ``paths``, its runner not entered; called in the new lane's thread.
        paths: the artifact folders.
        tell: takes one line for the person who watches the run.
        watch: look at the paths every second; else only when requested.
    """

    def __init__(
        self,
        open: Callable[[], Localizer],
        paths: Sequence[Path],
        tell: Callable[[str], None],
        *,
        limits: Limits | None = None,
        watch: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self._open = open
        self._paths = list(paths)
        self._tell = tell
        self._watch = watch
        self._requested = threading.Event()
        #: contents that run, and those that were tried last: each is tried once unless requested.
        self._running = self._tried = fingerprint(self._paths)
        self._seen = self._running
        self._looked = time.monotonic()
        self._candidate: Lane | None = None
        #: the new lane takes frames.
        self._ready = False
        #: id of the frame the new lane was asked, and the running lane's answer to it.
        self._shadowed: int | None = None
        self._ours: Answer | FrameError | None = None
        self._shadow = Shadow(self.limits)

    def request(self) -> None:
        """Look for a new pair at the next frame; may be called by a signal handler."""
        self._requested.set()

    def offer(self, frame: Frame) -> None:
        """A frame the running lane was asked; a new pair at rest is asked it too."""
        self._look()
        lane = self._candidate
        if lane is None or self._shadowed is not None:
            return
        try:
            self._ready = self._ready or lane.opened()
        except BaseException as error:
            self._give_up(_sentence(error))
            return
        if self._ready and not self._shadow.complete():
            lane.ask(frame)
            self._shadowed = frame.id

    def compare(self, item: Answer | FrameError) -> None:
        """What the running lane answered."""
        if self._shadowed is not None and item.frame == self._shadowed:
            self._ours = item
        self._match()

    def passed(self) -> Lane | None:
        """A lane that takes over from here, the caller's to close; None while there is none."""
        self._match()
        lane = self._candidate
        if lane is None or not self._ready or not self._shadow.complete():
            return None
        if not self._shadow.passed():
            self._give_up(self._shadow.sentence())
            return None
        self._tell(f"swapped to the new {self._names()}: {self._shadow.sentence()}")
        self._running = self._tried
        self._candidate = None
        self._clear()
        return lane

    def close(self) -> None:
        """End a comparison that is not over; the lane that runs is not this one's."""
        if self._candidate is not None:
            self._give_up("the run ended before the comparison did")

    def _look(self) -> None:
        """Start to open what is at the paths, if there is a reason to."""
        requested = self._requested.is_set()
        due = self._watch and time.monotonic() - self._looked > POLL_S
        if self._candidate is not None or not (requested or due):
            return
        self._requested.clear()
        self._looked = time.monotonic()
        found = fingerprint(self._paths)
        # Seen twice the same: not in the middle of somebody's copying.
        settled, self._seen = found == self._seen, found
        if requested and found == self._running:
            self._tell(f"the {self._names()} are those that run; nothing to swap")
        elif requested or (settled and found != self._tried and "" not in found):
            self._candidate = Lane(self._open_whole)
            self._candidate.start()

    def _open_whole(self) -> Localizer:
        """The pair at the paths, and not one half of it from before a replacement."""
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

    def _match(self) -> None:
        """Pair the new lane's answer with the running one's for the same frame."""
        lane = self._candidate
        if lane is None or self._ours is None or not lane.answered():
            return
        try:
            theirs = lane.tell()
        except BaseException as error:
            self._give_up(_sentence(error))
            return
        self._shadow.add(self._ours, theirs)
        self._ours = self._shadowed = None

    def _give_up(self, why: str) -> None:
        if self._candidate is not None:
            self._candidate.close(wait=False)
        self._candidate = None
        self._clear()
        self._tell(f"kept the old {self._names()}: {why}")

    def _clear(self) -> None:
        self._ready = False
        self._shadowed = self._ours = None
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
