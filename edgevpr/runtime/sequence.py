"""Place of the robot by all its frames so far: a Bayes filter over tracks through the map.

Sequence matching (SeqSLAM, Milford and Wyeth, ICRA 2012: frames in a row match the map along a
line of steady speed), kept as a recursive filter so that frames are answered as they come. The
belief lies on tracks (``sequence_tracks``: position and velocity), evenly over the map, and off it.

Observation: one frame's posterior from its search, divided by the prior it was fitted under
(scaled likelihood, Bourlard and Morgan 1994). The calibrated confidence is what the best place
gets; the other places found share what their similarities are worth at the calibrated temperature;
the rest is even over the map and off it. Belief off the map, and likelihoods from similarities of
the top images: Xu, Suenderhauf and Milford, Probabilistic Visual Place Recognition for Hierarchical
Localization (RA-L 2021).

Frames close in time that find the same images err together: a frame counts by the seconds since
the last (``INDEPENDENT_S``) or by its share of images the last did not find, whichever is more.
Every frame spreads a share of the belief anew (``LOST_FRAME``), half over the map and half off it,
so that a belief lives by the last few frames and a wrong one does not outlast them.

The answer is the likeliest track where it holds ``HELD`` of the belief and clearly more than the
frame's own best image, else that image. Frames that agree on a wrong place are common, so the
belief counts for no more than the chance that not all of the last frames that speak for the place
are wrong, few of them independent.
The confidence is the logarithmic opinion pool (Genest and Zidek, Statistical Science 1986) of that
and of this frame's own: else a place that the map merely resembles for seconds would pass for
surer than one that a frame shows beyond doubt.
"""

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.records import ConfidenceModel
from edgevpr.errors import UsageError
from edgevpr.places.table import ImageTable
from edgevpr.retrieval.confidence import same_place
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.runtime.sequence_layout import Layout
from edgevpr.runtime.sequence_tracks import Motion, Tracks

#: Metres a second; a car in a city.
MAX_SPEED = 15.0
#: Seconds between frames that have no time: images of a folder.
FRAME_S = 1.0
#: Seconds (frames without positions) until, on average, the belief is spread anew; a longer gap
#: starts it anew.
LOST_S = 60.0
#: Mean number of times that a frame of full weight spreads the belief anew.
LOST_FRAME = 0.4
#: Frames this far apart count in full, closer ones in proportion, but for what they show anew.
INDEPENDENT_S = 4.0
#: Belief within ``_HELD_SPACINGS`` of the likeliest track from which it is the answer.
HELD = 0.4
#: The same without a confidence model, where nothing says that a frame shows no place of the map.
HELD_UNFITTED = 0.45
#: The same without positions, where the map may be in no order at all.
HELD_STEPS = 0.55
_HELD_SPACINGS = 3.0
#: It must also be so many times the belief at the frame's own best image, if that lies elsewhere.
_OUTWEIGHS = 1.4
#: Distance, in spacings, of a found image from the track that answers with it.
_NEAR_SPACINGS = 1.5
#: Standard deviation of the acceleration: metres a second squared; steps a frame squared.
_ACCELERATION, _ACCELERATION_STEPS = 0.7, 0.15
#: Speed limit without positions, steps a frame, and the frames whose interval counts as usual.
_MAX_STEPS, _INTERVALS = 4.0, 20
#: Tracks kept.
_TRACKS = 64
#: Least weight of a frame, for a clock that stands still.
_LEAST = 0.02
#: Frames of so many seconds may speak for a place, and at most so many of them.
_SPEAK_S, _SPEAK = 10.0, 256
#: Share of the frames that speak for a place that counts as independent of the others.
_INDEPENDENT = 0.6
#: Weight of the frame's own confidence in that of its answer.
_OWN = 0.3
#: Where the gallery has no confidence model: confidence of a frame's best place, temperature, and
#: what the other places found are worth together when the best is wrong.
WITHOUT_MODEL = (0.5, 0.03, 0.25)


@dataclass(frozen=True)
class SequencePlace:
    """Answer of the filter."""

    #: gallery image that shows it.
    row: int
    #: its similarity to this frame; None where the search of this frame did not find it.
    score: float | None
    #: that the robot is within the radius of it.
    confidence: float


@dataclass(frozen=True)
class _Evidence:
    """One frame: K candidate places, their images and likelihoods, and that of all else."""

    at: NDArray[np.float64]
    rows: NDArray[np.int64]
    likelihood: NDArray[np.float64]
    elsewhere: float


class SequenceFilter:
    """Feed it every frame's search, in order; one filter a run.

    Args:
        images: of the gallery. Without positions their rows must be in the order of a traverse.
        kept: (N,) which of them are still in the map; all without it.
        radius_m: two positions closer than this are one place; the confidence model's if given.
        confidence_model: of the gallery, for the network that runs; without one the belief is no
            probability to rely on.
        max_speed: metres a second the robot cannot exceed; without positions it has no effect.
        live: time is that of capture on the machine's monotonic clock; else what frames say.

    Raises:
        UsageError: ``max_speed`` not above 0, or positions for only some of the images.
    """

    def __init__(
        self,
        images: ImageTable,
        *,
        kept: NDArray[np.bool_] | None = None,
        confidence_model: ConfidenceModel | None = None,
        radius_m: float = 25.0,
        max_speed: float = MAX_SPEED,
        live: bool = False,
    ) -> None:
        if not max_speed > 0:
            raise UsageError(
                f"found `max_speed` {max_speed:g}, expected metres a second above 0: pass "
                f"`max_speed` {MAX_SPEED:g}"
            )
        self.images = images
        self.max_speed = max_speed
        self.live = live
        self.calibrated = confidence_model is not None
        self.radius_m = confidence_model.radius_m if confidence_model else radius_m
        self.temperature = confidence_model.temperature if confidence_model else WITHOUT_MODEL[1]
        self.runners_up = confidence_model.runners_up if confidence_model else WITHOUT_MODEL[2]
        self.layout = Layout.of(images, kept)
        if self.layout.in_metres:
            self._motion = Motion(max_speed, _ACCELERATION, self.layout.spacing)
        else:
            self._motion = Motion(_MAX_STEPS, _ACCELERATION_STEPS, self.layout.spacing)
        self._time: float | None = None
        self.restart()

    def restart(self) -> None:
        """Forget all frames: the belief is half off the map, half even over it."""
        self.off, self.even = 0.5, 0.5
        self.tracks = Tracks(self._motion)
        #: seconds since the restart.
        self._now = 0.0
        self._found: NDArray[np.int64] | None = None
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        #: of the last frames: time, best image, weighted log of the chance that it is wrong.
        self._spoke: deque[tuple[float, int, float]] = deque(maxlen=_SPEAK)

    def step(
        self,
        scores: NDArray[np.float32],
        rows: NDArray[np.int64],
        *,
        time: float | None,
        confidence: float | None = None,
    ) -> SequencePlace | None:
        """The place after one more frame; None as long as nothing was ever found.

        Args:
            scores, rows: (K,) the frame's ranked gallery images.
            time: seconds on any clock; one that goes back, or jumps by more than ``LOST_S``,
                restarts the belief. None: one frame a second.
            confidence: calibrated, of the frame's best place.
        """
        passed = self._passed(time)
        found = rows[:SEARCH_DEPTH] >= 0
        scores, rows = scores[:SEARCH_DEPTH][found], rows[:SEARCH_DEPTH][found]
        weight = self._weight(passed, rows)
        if passed is not None:
            self._move(passed, weight)
        if not len(rows):
            return self._answer(scores, rows, np.ones(len(self.tracks)), 1.0, None)
        seen = self._observe(scores, rows, confidence)
        # its own frame counts an answer more than the belief that is handed on, or a belief formed
        # at a high frame rate would outlast the frames that contradict it
        present = (1.0 - weight) ** 2
        sharpened = np.concatenate(
            [np.full(len(self.tracks), seen.elsewhere**present), seen.likelihood**present]
        )
        sharpened = sharpened[self._update(seen, weight)]
        if confidence is not None:
            wrong = weight * math.log(max(1.0 - confidence, 1e-6))
            self._spoke.append((self._now, int(rows[0]), wrong))
        return self._answer(scores, rows, sharpened, seen.elsewhere**present, confidence)

    def _passed(self, time: float | None) -> float | None:
        """Seconds since the last frame; None for the first one after a restart."""
        last = self._time
        self._time = time if time is not None else (0.0 if last is None else last + FRAME_S)
        if last is None:
            return None
        passed = self._time - last
        if passed < 0 or passed > LOST_S:
            self.restart()
            return None
        self._now += passed
        return passed

    def _weight(self, passed: float | None, rows: NDArray[np.int64]) -> float:
        """How much a frame counts, up to 1."""
        last, self._found = self._found, rows
        if passed is None or last is None or not len(rows):
            return 1.0
        anew = 1.0 - float(np.isin(rows, last).mean())
        return min(1.0, max(passed / INDEPENDENT_S, anew, _LEAST))

    def _move(self, seconds: float, weight: float) -> None:
        """The belief when ``seconds`` have passed, before a frame of ``weight``."""
        passed = seconds
        if not self.layout.in_metres:  # by the frame: steps have no metres a second
            self._intervals.append(seconds)
            passed = min(seconds / (median(self._intervals) or 1.0), float(_INTERVALS))
        self.tracks.predict(passed)
        lost = 1.0 - math.exp(-max(passed / LOST_S, weight * LOST_FRAME))
        self.tracks.belief = self.tracks.belief * (1.0 - lost)
        self.off = self.off * (1.0 - lost) + 0.5 * lost
        self.even = self.even * (1.0 - lost) + 0.5 * lost

    def _observe(
        self, scores: NDArray[np.float32], rows: NDArray[np.int64], confidence: float | None
    ) -> _Evidence:
        """Likelihoods from one frame's search; each half spacing by its most similar image."""
        xy = self.layout.xy[rows]
        square = np.floor(2.0 * xy / self.layout.spacing)
        _, first = np.unique(square[:, 0] + 1j * square[:, 1], return_index=True)
        first = np.sort(first)
        best = WITHOUT_MODEL[0] if confidence is None else min(max(confidence, 1e-6), 1 - 1e-6)
        worth = np.exp((scores[first].astype(np.float64) - float(scores[0])) / self.temperature)
        # All that show the best place are together worth its confidence, the others what
        # runners-up were worth on held-out images.
        same = same_place(self.images, int(rows[0]), rows[first], self.radius_m)
        posterior = np.where(same, best * worth / worth[same].sum(), 0.0)
        rest = 1.0 - best
        if not same.all():
            other = np.where(same, 0.0, worth)
            shared = np.minimum(rest * self.runners_up * other / max(other.sum(), 1e-300),
                                best * other)  # fmt: skip
            posterior += shared
            rest -= float(shared.sum())
        # Divided by the prior: half off the map, the other half even over it. What is left of the
        # posterior lies on all else in proportion to that prior.
        prior = 0.5 / self.layout.places
        elsewhere = rest / max(1.0 - prior * len(first), 1e-9)
        likelihood = np.maximum(posterior / prior, elsewhere)
        return _Evidence(xy[first], rows[first], likelihood, elsewhere)

    def _update(self, seen: _Evidence, weight: float) -> NDArray[np.int64]:
        """Bayes' rule; which of the tracks, old ones then candidates, are kept."""
        likelihood, elsewhere = seen.likelihood**weight, seen.elsewhere**weight
        fresh = self.even / self.layout.places * likelihood
        self.tracks.update(seen.at, seen.rows, likelihood, elsewhere, fresh)
        self.even *= elsewhere
        self.off *= elsewhere
        total = self.even + self.off + float(self.tracks.belief.sum())
        self.even, self.off = self.even / total, self.off / total
        self.tracks.belief = self.tracks.belief / total
        chosen = np.argsort(-self.tracks.belief, kind="stable")[:_TRACKS]
        self.tracks.keep(chosen)
        self.even = max(1.0 - self.off - float(self.tracks.belief.sum()), 0.0)
        return chosen

    def _answer(
        self,
        scores: NDArray[np.float32],
        rows: NDArray[np.int64],
        sharpened: NDArray[np.float64],
        elsewhere: float,
        own: float | None,
    ) -> SequencePlace | None:
        """The answer by the belief on tracks times ``sharpened`` (T,), elsewhere times that.

        Args:
            own: confidence of the frame's best place.
        """
        tracks, spacing = self.tracks, self.layout.spacing
        if not len(tracks):
            return None
        belief = tracks.belief * sharpened
        belief = belief / (float(belief.sum()) + elsewhere * (self.even + self.off))
        best = int(np.argmax(belief))
        centre = tracks.position[best]
        score: float | None = None
        limit = HELD if self.calibrated else HELD_UNFITTED
        limit = limit if self.layout.in_metres else HELD_STEPS
        held_belief = float(belief[tracks.near(centre, _HELD_SPACINGS * spacing)].sum())
        away = self.layout.xy[rows] - centre
        held = held_belief >= limit
        if len(rows) and float(np.hypot(*away[0])) > 2 * _HELD_SPACINGS * spacing:
            other = tracks.near(self.layout.xy[rows[0]], _HELD_SPACINGS * spacing)
            held = held and held_belief >= _OUTWEIGHS * float(belief[other].sum())
        near = np.flatnonzero(np.hypot(away[:, 0], away[:, 1]) <= _NEAR_SPACINGS * spacing)
        if len(rows) and (not held or len(near)):
            rank = int(near[0]) if held else 0
            row, score = int(rows[rank]), float(scores[rank])
        else:
            row = int(tracks.row[best])
        shown = same_place(self.images, row, tracks.row, self.radius_m)
        confidence = min(float(tracks.belief[shown].sum()), 1.0)
        if self.calibrated:
            confidence = min(confidence, self._not_all_wrong(row))
            if own is not None:
                same = bool(same_place(self.images, row, rows[:1], self.radius_m)[0])
                here = own if same else (1.0 - own) * self.runners_up
                confidence = _pooled(confidence, here)
        return SequencePlace(row, score, confidence)

    def _not_all_wrong(self, row: int) -> float:
        """Chance that of the frames that speak for the place of ``row`` at least one is right.

        A frame speaks for every place the robot can have reached from its own since then.
        """
        recent = [each for each in self._spoke if self._now - each[0] <= _SPEAK_S]
        if not recent:
            return 0.0
        rows = np.array([each[1] for each in recent], np.int64)
        wrong = np.array([each[2] for each in recent])
        speaks = same_place(self.images, row, rows, self.radius_m)
        if self.layout.in_metres:
            away = self.layout.xy[rows] - self.layout.xy[row]
            past = self._now - np.array([each[0] for each in recent])
            reach = self.radius_m + self.max_speed * past
            speaks |= np.hypot(away[:, 0], away[:, 1]) <= reach
        return 1.0 - math.exp(_INDEPENDENT * float(wrong[speaks].sum()))


def _pooled(sequence: float, own: float) -> float:
    """Probability at the weighted mean of the log odds of two."""
    first, second = np.clip([sequence, own], 1e-6, 1.0 - 1e-6)
    odds = (1.0 - _OWN) * math.log(first / (1.0 - first)) + _OWN * math.log(second / (1.0 - second))
    return 1.0 / (1.0 + math.exp(-odds))
