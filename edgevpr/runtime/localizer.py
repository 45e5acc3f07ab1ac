"""One frame to one answer: preprocess, engine, search."""

import math
import time

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import NumericsError, UsageError
from edgevpr.places.near import Near
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.runtime.answers import Answer, FrameError, Match, StageTimes
from edgevpr.runtime.engines.runner import Runner
from edgevpr.runtime.gallery.gallery import Gallery
from edgevpr.runtime.judge import Judge
from edgevpr.runtime.sequence import SequenceFilter
from edgevpr.runtime.sources.frames import Frame

#: So many descriptors in a row that are no numbers end the run: it is not the frames then.
MAX_BROKEN = 10


class Localizer:
    """Answers frames with a runner that has been entered and a gallery that accepts its bundle.

    Args:
        preprocess: the bundle's.
        top: places in an answer, best first.
        judge: gives answers their confidence.
        sequence: answers by all frames so far; it must be new, of the same gallery, and called in
            the order of the frames.
        near: answer only with images near this point; may be set anew between frames, for a prior
            that moves with the robot.

    Raises:
        DataError: the gallery has no image near that point.
    """

    def __init__(
        self,
        runner: Runner,
        gallery: Gallery,
        preprocess: Preprocess,
        *,
        top: int = 5,
        judge: Judge | None = None,
        sequence: SequenceFilter | None = None,
        near: Near | None = None,
    ) -> None:
        if top < 1:
            raise UsageError(f"found --top {top}, expected 1 or more: pass --top 5")
        self.runner = runner
        self.gallery = gallery
        self.preprocess = preprocess
        self.top = top
        self.judge = judge
        self.sequence = sequence
        self.near = near
        if near is not None:
            gallery.near(near)
        self._broken = 0
        # Several images of one place are merged, so more are searched than are told.
        self._depth = max(SEARCH_DEPTH, 4 * top)
        # Reused for every frame: the engine reads it, nobody keeps it.
        self._input = np.empty((1, preprocess.height, preprocess.width, 3), np.uint8)

    def warm_up(self, count: int = 3) -> None:
        """Run noise through engine and search: first calls allocate and load."""
        self._input[:] = np.random.default_rng(0).integers(0, 256, self._input.shape)
        for _ in range(count):
            descriptor = self.runner.infer(self._input)
            # Not the descriptor itself: what a network makes of noise is nobody's error.
            self.gallery.search(np.zeros_like(descriptor), self._depth, self.near)

    def locate(self, frame: Frame) -> Answer | FrameError:
        """Answer a frame that has an image, or say that the engine gave NaN or infinity for it.

        Raises:
            NumericsError: it did so for ``MAX_BROKEN`` frames in a row.
        """
        import cv2

        if frame.image is None:
            raise ValueError(f"frame {frame.id} has no image: {frame.error}")
        started = time.perf_counter()
        # Resized first, then to RGB: fewer pixels to swap, the same result to the bit.
        small = self.preprocess.resize(frame.image)
        cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=self._input[0])
        resized = time.perf_counter()
        descriptor = self.runner.infer(self._input)
        inferred = time.perf_counter()
        try:
            scores, rows = self.gallery.search(descriptor, self._depth, self.near)
        except NumericsError as error:
            self._broken += 1
            if self._broken == MAX_BROKEN:
                raise
            return FrameError(frame.id, frame.source, frame.time, str(error))
        self._broken = 0
        top = places(scores[0], rows[0], self.gallery.images, self.top)
        best, score = (top[0], top[0].score) if top else (None, None)
        confidence = known = None
        if self.judge is not None:
            confidence = self.judge.confidence(scores[0], rows[0], self.gallery.images)
        if self.sequence is not None:
            place = self.sequence.step(
                scores[0],
                rows[0],
                time=frame.captured if self.sequence.live else frame.time,
                confidence=confidence,
            )
            if place is not None:
                best = _match(self.gallery.images, place.row, place.score or 0.0)
                score = None if place.score is None else best.score
                confidence = confidence if confidence is None else place.confidence
        if self.judge is not None and confidence is not None:
            confidence = round(confidence, 4)
            known = self.judge.known(confidence)
        searched = time.perf_counter()
        return Answer(
            frame=frame.id,
            source=frame.source,
            time=frame.time,
            frame_age_ms=round((time.monotonic() - frame.captured) * 1e3, 3),
            place=best.place if best else None,
            lat=best.lat if best else None,
            lon=best.lon if best else None,
            score=score,
            top=top,
            ms=_stage_times(frame.capture_ms, started, resized, inferred, searched),
            confidence=confidence,
            known=known,
        )


def places(
    scores: NDArray[np.float32], rows: NDArray[np.int64], images: ImageTable, top: int
) -> list[Match]:
    """The first ``top`` different places of one frame's (K,) ranked gallery images.

    An image without a place id is a place of its own; rows of -1 (nothing found) are left out.
    """
    matches: list[Match] = []
    seen: set[int] = set()
    for score, row in zip(scores.tolist(), rows.tolist(), strict=True):
        if row < 0:
            continue
        place = int(images.place[row])
        key = place if place >= 0 else -1 - row
        if key in seen:
            continue
        seen.add(key)
        matches.append(_match(images, row, score))
        if len(matches) == top:
            break
    return matches


def _match(images: ImageTable, row: int, score: float) -> Match:
    place = int(images.place[row])
    return Match(
        place=place if place >= 0 else None,
        lat=_known(images.lat[row]),
        lon=_known(images.lon[row]),
        score=round(score, 5),
        image=images.paths[row],
    )


def _stage_times(
    capture_ms: float, started: float, resized: float, inferred: float, searched: float
) -> StageTimes:
    stages = (
        capture_ms,
        (resized - started) * 1e3,
        (inferred - resized) * 1e3,
        (searched - inferred) * 1e3,
    )
    capture, preprocess, engine, search = (round(ms, 3) for ms in stages)
    return StageTimes(capture, preprocess, engine, search, round(sum(stages), 3))


def _known(degrees: np.float64) -> float | None:
    value = float(degrees)
    return None if math.isnan(value) else value
