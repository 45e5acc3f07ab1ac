"""Localizer: one camera image in, the place it shows out (preprocessing, engine, search)."""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic, perf_counter
from types import TracebackType

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import NumericsError, UsageError
from edgevpr.places.near import Near
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.runtime.answers import Answer, FrameError, Match, StageTimes
from edgevpr.runtime.check_arguments import Color, NearLike, as_near, check_image
from edgevpr.runtime.engines.runner import AnytimeRunner, Runner
from edgevpr.runtime.exits.exit_plan import ExitPlan
from edgevpr.runtime.gallery.gallery import Gallery
from edgevpr.runtime.judge import Judge
from edgevpr.runtime.matches import distinct_places, match_at
from edgevpr.runtime.sequence import SequenceFilter
from edgevpr.runtime.sources.frames import Frame

#: Consecutive frames with NaN or infinity in their descriptor that end a run.
MAX_BROKEN = 10
#: Runs of each way through a network with early exits before the first frame.
_ROUNDS = 5


@dataclass(frozen=True)
class _Found:
    """One frame's (K,) ranked gallery images, and who judges them."""

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    judge: Judge | None
    confidence: float | None
    engine_ms: float
    search_ms: float
    #: "" of a network without exits.
    exit: str = ""


@dataclass(frozen=True)
class _Estimate:
    """The place answered: by one frame its best match, or the place of the sequence filter."""

    match: Match | None
    #: cosine similarity to this frame; None where this frame's search did not find the place.
    score: float | None
    confidence: float | None


class Localizer:
    """An engine, a gallery and a confidence model as one ``with`` block.

    ``open_localizer`` makes one from a bundle and a gallery. The thread that opens it, by ``with``
    or ``open``, is the only one that may locate and close: a CUDA context belongs to its thread.
    A localizer opens once; after ``close`` it answers no more, and closing again does nothing.

    Args:
        runner: not yet entered.
        gallery: accepts the descriptors of the runner's bundle.
        preprocess: the bundle's.
        top: places in an answer, best first.
        judge: gives answers their confidence; those of early exits have their own in ``exits``.
        exits: of a network with early exits: which of them answers, and what holds for each; the
            runner is an ``AnytimeRunner`` then.
        sequence: answers by all frames so far; it must be new, of the same gallery, and is fed in
            the order of the frames.
        near: answer only with images near this point.

    Raises:
        UsageError: ``top`` or ``near`` is out of range.
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
        near: NearLike | None = None,
        exits: ExitPlan | None = None,
    ) -> None:
        if top < 1:
            raise UsageError(f"found `top` {top}, expected 1 or more: pass `top` 5")
        self.runner = runner
        self.gallery = gallery
        self.preprocess = preprocess
        self.top = top
        self.judge = judge
        self.sequence = sequence
        self.exits = exits
        self._near = as_near(near)
        if self._near is not None:
            gallery.near(self._near)
        #: the entered runner, while it is open.
        self._engine: ExitStack | None = None
        self._owner = 0
        self._closed = False
        self._count = 0
        self._broken = 0
        # Several images of one place become one match, so more are searched than are answered.
        self._depth = max(SEARCH_DEPTH, 4 * top)
        # Reused for every frame; only the engine reads it.
        self._input = np.empty((1, preprocess.height, preprocess.width, 3), np.uint8)

    @property
    def near(self) -> Near | None:
        """The GPS prior, None for the whole map; may be set anew between frames.

        Takes a ``Near``, "lat,lon,radius" or (lat, lon, radius_m). With a point that has no image
        of the gallery near it, the next ``locate`` raises a DataError.
        """
        return self._near

    @near.setter
    def near(self, point: NearLike | None) -> None:
        self._near = as_near(point)

    def open(self) -> "Localizer":
        """Load the engine and warm it up, in the thread that will locate and close.

        Raises:
            UsageError: it is open, or was closed.
            TargetError, ResourceError: the engine does not load on this machine.
        """
        if self._engine is not None or self._closed:
            found = "closed" if self._closed else "open already"
            raise UsageError(
                f"found a localizer that is {found}, expected one that was never opened: make "
                "another with open_localizer"
            )
        with ExitStack() as stack:
            stack.enter_context(self.runner)
            if self.exits is not None:
                self.exits.policy.open()
                stack.callback(self.exits.policy.close)
            self.warm_up()
            self._engine = stack.pop_all()
        self._owner = threading.get_ident()
        return self

    def close(self) -> None:
        """Free the engine.

        Raises:
            UsageError: called by another thread than the one that opened it.
        """
        self.__exit__(None, None, None)

    def __enter__(self) -> "Localizer":
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        engine = self._engine
        if engine is not None:
            self._check_thread()
            self._engine = None
            engine.__exit__(kind, error, trace)
        self._closed = True

    def warm_up(self, count: int = 3) -> None:
        """Run noise through engine and search ``count`` times: first calls allocate and load."""
        self._input[:] = np.random.default_rng(0).integers(0, 256, self._input.shape)
        if self.exits is not None:
            self._warm_up_exits(self.exits)
            return
        for _ in range(count):
            descriptor = self.runner.infer(self._input)
            # Zeros: a network may give NaN for noise, which says nothing about camera images.
            self.gallery.search(np.zeros_like(descriptor), self._depth, self._near)

    def _warm_up_exits(self, plan: ExitPlan) -> None:
        """Every way by turns, so that they are measured under one load."""
        runner = self._anytime()
        ways = plan.policy.ways()
        times: dict[tuple[str, ...], list[float]] = {way: [] for way in ways}
        for number in range(_ROUNDS):
            for way in ways:
                runner.start(self._input)
                for exit in way:
                    watch = _StopWatch()
                    descriptor = runner.at(exit)
                    last_ms = watch.lap_ms()
                    self.gallery.use(plan.parameters[exit])
                    self.gallery.search(np.zeros_like(descriptor), self._depth, self._near)
                if number or _ROUNDS == 1:  # the first time allocates and loads
                    times[way].append(last_ms)
        for way, measured in times.items():
            plan.policy.warmed_up(way, measured)

    def _anytime(self) -> AnytimeRunner:
        runner: AnytimeRunner = self.runner  # type: ignore[assignment]
        return runner

    def locate(
        self, frame: NDArray[np.uint8], *, time: float | None = None, color: Color = "rgb"
    ) -> Answer:
        """Where a camera image was taken.

        Args:
            frame: (H, W, 3) uint8 of any size; it is only read.
            time: seconds on any clock, for a sequence filter; without it frames count as one
                second apart.
            color: order of the channels.

        Raises:
            DataError: the frame is no such array, or no image of the map is near ``near``.
            NumericsError: the engine gave NaN or infinity for it.
            UsageError: not open, or called by another thread than the one that opened it.
        """
        self._check_open()
        check_image(frame, color)
        self._count += 1
        return self._locate(Frame(self._count - 1, "array", frame, monotonic(), time, 0.0), color)

    def answer(self, frame: Frame) -> Answer | FrameError:
        """The answer to a source's frame that has an image, or why the engine gave none.

        Raises:
            NumericsError: the engine gave NaN or infinity for ``MAX_BROKEN`` frames in a row.
        """
        self._check_open()
        try:
            answer = self._locate(frame, "bgr")
        except NumericsError as error:
            self._broken += 1
            if self._broken == MAX_BROKEN:
                raise
            return FrameError(frame.id, frame.source, frame.time, str(error))
        self._broken = 0
        return answer

    def _locate(self, frame: Frame, color: Color) -> Answer:
        started = monotonic()
        watch = _StopWatch()
        self._prepare(frame, color)
        preprocess_ms = watch.lap_ms()
        if self.exits is None:
            found = self._find()
        else:
            if self.exits.live:
                started = frame.captured
            found = self._find_by_exits(self.exits, started)
        watch.lap_ms()
        top = distinct_places(found.scores, found.rows, self.gallery.images, self.top)
        estimate = self._estimate(frame, found, top)
        search_ms = found.search_ms + watch.lap_ms()
        stages_ms = frame.capture_ms, preprocess_ms, found.engine_ms, search_ms
        return self._answer(frame, top, estimate, found, stages_ms, started)

    def _find(self) -> _Found:
        """The search of the prepared image, through a network with one way."""
        watch = _StopWatch()
        descriptor = self.runner.infer(self._input)
        engine_ms = watch.lap_ms()
        scores, rows = self.gallery.search(descriptor, self._depth, self._near)
        confidence = self._confidence(self.judge, scores[0], rows[0])
        return _Found(scores[0], rows[0], self.judge, confidence, engine_ms, watch.lap_ms())

    def _find_by_exits(self, plan: ExitPlan, started: float) -> _Found:
        """The search of the prepared image by the exit that the policy picks, and perhaps once
        more by a deeper one, which goes on from what is computed."""
        runner, policy = self._anytime(), plan.policy
        runner.start(self._input)
        before, exit = "", policy.first((monotonic() - started) * 1e3)
        engine_ms = search_ms = 0.0
        while True:
            watch = _StopWatch()
            descriptor = runner.at(exit)
            last_engine_ms = watch.lap_ms()
            self.gallery.use(plan.parameters[exit])
            scores, rows = self.gallery.search(descriptor, self._depth, self._near)
            judge = plan.judges[exit]
            confidence = self._confidence(judge, scores[0], rows[0])
            last_search_ms = watch.lap_ms()
            engine_ms, search_ms = engine_ms + last_engine_ms, search_ms + last_search_ms
            policy.took(before, exit, last_engine_ms, last_search_ms)
            deeper = policy.deeper(exit, confidence, (monotonic() - started) * 1e3)
            if deeper is None:
                found = scores[0], rows[0], judge, confidence, engine_ms, search_ms, exit
                return _Found(*found)
            before, exit = exit, deeper

    def _confidence(
        self, judge: Judge | None, scores: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> float | None:
        return None if judge is None else judge.confidence(scores, rows, self.gallery.images)

    def _prepare(self, frame: Frame, color: Color) -> None:
        """The frame's image as the engine's input."""
        import cv2

        if frame.image is None:
            raise ValueError(f"frame {frame.id} has no image: {frame.error}")
        # Resized first, then to RGB: fewer pixels to swap, the same result to the bit.
        small = self.preprocess.resize(frame.image)
        if color == "bgr":
            cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=self._input[0])
        else:
            np.copyto(self._input[0], small)

    def _estimate(self, frame: Frame, found: _Found, top: Sequence[Match]) -> _Estimate:
        """The place of one frame's search, by the sequence so far where there is a filter."""
        images, confidence = self.gallery.images, found.confidence
        single = _Estimate(top[0] if top else None, top[0].score if top else None, confidence)
        if self.sequence is None:
            return single
        at = frame.captured if self.sequence.live else frame.time
        if found.exit and found.judge is not None:  # scores of each exit are worth something else
            self.sequence.temperature = found.judge.model.temperature
            self.sequence.runners_up = found.judge.model.runners_up
        place = self.sequence.step(found.scores, found.rows, time=at, confidence=confidence)
        if place is None:
            return single
        match = match_at(images, place.row, place.score or 0.0)
        return _Estimate(
            match,
            None if place.score is None else match.score,
            None if confidence is None else place.confidence,
        )

    def _answer(
        self,
        frame: Frame,
        top: list[Match],
        estimate: _Estimate,
        found: _Found,
        stages_ms: tuple[float, float, float, float],
        started: float,
    ) -> Answer:
        """The record of an estimate; ``stages_ms`` are capture, preprocess, engine and search."""
        match, confidence, known = estimate.match, estimate.confidence, None
        capture, preprocess, engine, search = (round(ms, 3) for ms in stages_ms)
        if found.judge is not None and confidence is not None:
            confidence = round(confidence, 4)
            known = found.judge.known(confidence)
        late = None
        if self.exits is not None:
            late = self.exits.policy.late((monotonic() - started) * 1e3)
        return Answer(
            frame=frame.id,
            source=frame.source,
            time=frame.time,
            frame_age_ms=round((monotonic() - frame.captured) * 1e3, 3),
            place=match.place if match else None,
            lat=match.lat if match else None,
            lon=match.lon if match else None,
            score=estimate.score,
            top=top,
            ms=StageTimes(capture, preprocess, engine, search, round(sum(stages_ms), 3)),
            confidence=confidence,
            known=known,
            exit=found.exit or msgspec.UNSET,
            late=msgspec.UNSET if late is None else late,
        )

    def _check_open(self) -> None:
        if self._engine is None:
            found = "closed" if self._closed else "not open"
            raise UsageError(
                f"found a localizer that is {found}, expected an open one: use it inside its with "
                "block, or between open and close"
            )
        self._check_thread()

    def _check_thread(self) -> None:
        if self._owner != threading.get_ident():
            raise UsageError(
                f"found a call from the thread {threading.current_thread().name!r}, expected the "
                "one that opened the localizer: hand frames to that thread, or open another "
                "localizer in this one"
            )


class _StopWatch:
    """Milliseconds from one lap to the next."""

    def __init__(self) -> None:
        self._last = perf_counter()

    def lap_ms(self) -> float:
        now = perf_counter()
        lap, self._last = (now - self._last) * 1e3, now
        return lap
