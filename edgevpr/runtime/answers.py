"""Records of a run: one answer a frame, and a summary at the end."""

import msgspec

from edgevpr.printable import counted


class Match(msgspec.Struct, frozen=True):
    """A place of the map, shown by its most similar gallery image."""

    #: place id; None where the map has none for the image.
    place: int | None
    #: degrees; None where the map has none.
    lat: float | None
    lon: float | None
    #: cosine similarity, 1 is identical.
    score: float
    #: path of the gallery image, as in the gallery's table.
    image: str


class StageTimes(msgspec.Struct, frozen=True):
    """Milliseconds of work for one frame; ``total`` is their sum, without the waiting that
    ``frame_age_ms`` includes."""

    capture: float
    preprocess: float
    engine: float
    search: float
    total: float


class Answer(msgspec.Struct, frozen=True):
    """The place of one frame.

    ``place``, ``lat``, ``lon`` and ``score`` are those of the best match, or of the sequence
    filter's place; ``top`` is always of this frame alone. ``score`` is None where this frame's
    search did not find the filter's place.
    """

    frame: int
    source: str
    #: seconds into the video, or Unix time for a live camera; None for image files.
    time: float | None
    #: milliseconds from the pixels being there to the answer, waiting included.
    frame_age_ms: float
    place: int | None
    lat: float | None
    lon: float | None
    score: float | None
    #: best first, every place once.
    top: list[Match]
    ms: StageTimes
    #: probability that ``place`` is where the frame was taken; None where the gallery has no
    #: confidence model of this network.
    confidence: float | None = None
    #: False: the map probably does not hold this place, and the answer is no fix. None where
    #: ``confidence`` is.
    known: bool | None = None
    #: exit of the network that gave the answer, "full" for the whole path; left out where the
    #: bundle has one way through it.
    exit: str | msgspec.UnsetType = msgspec.UNSET
    #: it came after the deadline that exits are chosen by; left out without one.
    late: bool | msgspec.UnsetType = msgspec.UNSET


class FrameError(msgspec.Struct, frozen=True):
    """Stands for the answer to a frame that could not be read or described."""

    frame: int
    source: str
    time: float | None
    error: str


class LatencySpread(msgspec.Struct, frozen=True):
    """Median and 95th percentile, milliseconds."""

    p50: float
    p95: float


class RunSummary(msgspec.Struct, frozen=True):
    """Counts over a whole run; times over its last 10,000 answers."""

    frames: int
    #: frames that could not be read.
    errors: int
    #: frames of a live camera that came while another was worked on.
    drops: int
    seconds: float
    fps: float
    end_to_end_ms: LatencySpread | None
    engine_ms: LatencySpread | None
    search_ms: LatencySpread | None
    frame_age_ms: LatencySpread | None
    #: a signal ended the run before its source did.
    interrupted: bool
    remarks: list[str]
    #: times a new bundle or gallery took the place of the one before.
    swaps: int = 0
    #: answers by exit; left out where no bundle of the run had any.
    exits: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    #: answers after the deadline; left out without one.
    misses: int | msgspec.UnsetType = msgspec.UNSET

    def sentence(self) -> str:
        """The summary in words, for the terminal."""
        text = f"{counted(self.frames, 'frame')} in {self.seconds:.1f} s ({self.fps:.1f} a second)"
        for label, spread in (
            ("end to end", self.end_to_end_ms),
            ("engine", self.engine_ms),
            ("search", self.search_ms),
            ("frame age", self.frame_age_ms),
        ):
            if spread is not None:
                text += f", {label} {spread.p50:.2f} ms (p95 {spread.p95:.2f})"
        text = f"{text}, {self.drops} dropped, {self.errors} unreadable"
        if self.exits is not msgspec.UNSET:
            counts = ", ".join(f"{exit} {count}" for exit, count in self.exits.items())
            text += f"; answers by exit: {counts or 'none'}"
        if self.misses is not msgspec.UNSET:
            text += f"; {self.misses} after the deadline"
        return text
