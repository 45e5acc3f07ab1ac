"""Where the robot is by all its frames so far: a discrete Bayes filter over the map.

The belief is over the squares of ``sequence_cells`` and one state more, off the map.

Motion: at most ``max_speed`` metres a second, to squares that touch; as many steps as the time
since the last frame allows. A share of the belief is spread anew, half over the map and half off
it, once in ``LOST_S`` seconds on average: the robot was carried off, or the filter was wrong.

Observation: one frame's posterior from its search, divided by the prior it was fitted under
(scaled likelihood, Bourlard and Morgan 1994). The calibrated confidence is what the best place
gets; the other places found share what their similarities are worth at the calibrated temperature;
the rest is even over the map and off it. Only places found are touched, so that the cost of a
frame does not grow with the map. Frames close in time err together: evidence counts by the second
(``INDEPENDENT_S``), not by the frame.

Frames that agree on a wrong place are common: a view that misleads once misleads again. So the
confidence told is the belief, but never more than the chance that not all of the last frames that
speak for the place are wrong, their own calibrated confidences taken as independent.

Belief off the map, and likelihoods from similarities of the top images: Xu, Snderhauf and Milford,
Probabilistic Visual Place Recognition for Hierarchical Localization (RA-L 2021).
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.records import ConfidenceModel
from edgevpr.errors import UsageError
from edgevpr.places.table import ImageTable
from edgevpr.retrieval.confidence import same_place
from edgevpr.retrieval.exact import SEARCH_DEPTH
from edgevpr.runtime.sequence_cells import cells_of

#: Metres a second; a car in a city.
MAX_SPEED = 15.0
#: Seconds between frames that have no time: images of a folder.
FRAME_S = 1.0
#: Seconds until, on average, the belief is spread anew.
LOST_S = 60.0
#: Frames this far apart count in full, closer ones in proportion.
INDEPENDENT_S = 2.0
#: Frames of so many seconds may speak for a place, and at most so many of them.
_SPEAK_S, _SPEAK = 10.0, 256
#: Least weight of a frame, for a clock that stands still.
_LEAST = 0.02
#: Steps of one frame at most; a longer gap loses the robot in proportion.
_STEPS = 8
#: Squares that are followed one by one, and the belief below which one is not.
_FOLLOWED = 512
_FORGET = 1e-7
#: Where the gallery has no confidence model: confidence of a frame's best place, temperature, and
#: what the other places found are worth together when the best is wrong.
WITHOUT_MODEL = (0.5, 0.03, 0.1)


@dataclass(frozen=True)
class Place:
    """What the filter answers."""

    #: gallery image that shows it.
    row: int
    #: its similarity to this frame; None where the search of this frame did not find it.
    score: float | None
    #: that the robot is within the radius of it.
    confidence: float


class SequenceFilter:
    """Feed it every frame's search, in order; one filter a run.

    Args:
        images: of the gallery.
        kept: (N,) which of them are still in the map; all without it.
        radius_m: two positions closer than this are one place; the confidence model's if given.
        confidence_model: of the gallery, for the network that runs; without one the filter knows no
            state off the map, and its belief is no probability to rely on.
        max_speed: metres a second the robot cannot exceed.
        live: time is that of capture on the machine's monotonic clock; else what frames say.
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
        self.cells = cells_of(images, self.radius_m, kept)
        #: belief: off the map, even over all squares, and beyond that on the squares followed.
        self.off = 0.5 if self.calibrated else 0.0
        self.even = 1.0 - self.off
        self.followed: NDArray[np.int64] = np.empty(0, np.int64)
        self.belief: NDArray[np.float64] = np.empty(0)
        self._time: float | None = None
        #: seconds since the first frame, which never go back.
        self._now = 0.0
        #: the image last found of a square.
        self._seen: dict[int, int] = {}
        #: of the last frames: time, best image, weighted log of the chance that it is wrong.
        self._spoke: deque[tuple[float, int, float]] = deque(maxlen=_SPEAK)

    def step(
        self,
        scores: NDArray[np.float32],
        rows: NDArray[np.int64],
        *,
        time: float | None,
        confidence: float | None = None,
    ) -> Place | None:
        """The place after one more frame; None as long as nothing was ever found.

        Args:
            scores, rows: (K,) the frame's ranked gallery images.
            time: seconds on any clock; one that goes back counts as standing still. None: one
                frame a second.
            confidence: calibrated, of the frame's best place.
        """
        weight = self._pass(time)
        found = rows[:SEARCH_DEPTH] >= 0
        scores, rows = scores[:SEARCH_DEPTH][found], rows[:SEARCH_DEPTH][found]
        if len(rows):
            squares, odds, elsewhere = self.observe(scores, rows, confidence)
            self.update(squares, odds**weight, elsewhere**weight)
            if confidence is not None:
                wrong = weight * math.log(max(1.0 - confidence, 1e-6))
                self._spoke.append((self._now, int(rows[0]), wrong))
        return self._best(scores, rows)

    def _pass(self, time: float | None) -> float:
        """Move the belief to the time of a frame; how much the frame counts, up to 1."""
        passed, first = FRAME_S, self._time is None
        if time is not None:
            passed = max(time - self._time, 0.0) if self._time is not None else 0.0
        self._time = time if time is not None else (self._time or 0.0) + FRAME_S
        if first:
            return 1.0
        self._now += passed
        self.move(passed)
        return min(1.0, max(passed / INDEPENDENT_S, _LEAST))

    def move(self, seconds: float) -> None:
        """The belief after ``seconds`` without a frame."""
        lost = 1.0 - math.exp(-seconds / LOST_S)
        hops = self.max_speed * seconds / self.cells.side_m  # nan where there are no positions
        if hops > 0:
            steps = min(math.ceil(hops), _STEPS)
            lost = max(lost, 1.0 - _STEPS / hops)
            leaving = 1.0 - math.exp(-min(hops, _STEPS) / steps)
            for _ in range(steps):
                self._hop(leaving)
        self.belief = self.belief * (1.0 - lost)
        anew = 0.5 if self.calibrated else 0.0
        self.off = self.off * (1.0 - lost) + lost * anew
        self.even = self.even * (1.0 - lost) + lost * (1.0 - anew)

    def _hop(self, leaving: float) -> None:
        """One step: a share ``leaving`` of each square's belief to those that touch it."""
        if not len(self.followed):
            return
        share = leaving * self.cells.share[self.followed]
        to = self.cells.touching[self.followed]
        moved = (self.belief[:, None] * share)[to >= 0]
        stays = self.belief * (1.0 - share.sum(axis=1))
        self._follow(np.concatenate([self.followed, to[to >= 0]]), np.concatenate([stays, moved]))

    def observe(
        self, scores: NDArray[np.float32], rows: NDArray[np.int64], confidence: float | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """Likelihoods from one frame's search: squares found, theirs, that of all else."""
        best = WITHOUT_MODEL[0] if confidence is None else min(max(confidence, 1e-6), 1 - 1e-6)
        worth = np.exp((scores.astype(np.float64) - float(scores[0])) / self.temperature)
        same = same_place(self.images, int(rows[0]), rows, self.radius_m)
        squares, of = np.unique(self.cells.of[rows], return_inverse=True)
        of = of.reshape(-1)
        # Each square by its most similar image. All that show the best place are together worth
        # its confidence, the others what runners-up were worth on held-out images.
        first, other = np.zeros(len(squares)), np.zeros(len(squares))
        np.maximum.at(first, of[same], worth[same])
        np.maximum.at(other, of[~same], worth[~same])
        posterior = best * first / first.sum()
        rest = 1.0 - best
        if other.any():
            # never above the best place, whatever it is worth: less similar is not likelier
            shared = rest * self.runners_up * other / other.sum()
            shared = np.minimum(shared, best * other)
            posterior += shared
            rest -= float(shared.sum())
        for row, square in zip(rows[::-1].tolist(), squares[of][::-1].tolist(), strict=True):
            self._seen[square] = row
        # Divided by the prior: a half off the map (or nothing), the other even over it. What is
        # left of the posterior lies on all else in proportion to that prior.
        prior = (0.5 if self.calibrated else 1.0) / len(self.cells)
        elsewhere = rest / max(1.0 - prior * len(squares), 1e-9)
        odds = posterior / prior
        return squares, np.maximum(odds, elsewhere), elsewhere

    def update(
        self, squares: NDArray[np.int64], odds: NDArray[np.float64], elsewhere: float
    ) -> None:
        """Bayes' rule: multiply by likelihoods and normalize.

        Args:
            squares, odds: (S,) squares, each once, and their likelihoods, at least ``elsewhere``.
            elsewhere: likelihood of every other square, and off the map.
        """
        gained = (odds - elsewhere) * self.even / len(self.cells)
        factor = np.full(len(self.followed), elsewhere)
        place = np.searchsorted(squares, self.followed)
        place = np.minimum(place, len(squares) - 1)
        hit = squares[place] == self.followed
        factor[hit] = odds[place[hit]]
        self.belief = self.belief * factor
        self.even *= elsewhere
        self.off *= elsewhere
        self._follow(
            np.concatenate([self.followed, squares]), np.concatenate([self.belief, gained])
        )
        total = self.even + self.off + float(self.belief.sum())
        self.even /= total
        self.off /= total
        self.belief = self.belief / total
        self._forget()

    def _follow(self, squares: NDArray[np.int64], belief: NDArray[np.float64]) -> None:
        """Sum the belief of squares named more than once."""
        self.followed, inverse = np.unique(squares, return_inverse=True)
        sums = np.bincount(inverse.reshape(-1), belief, len(self.followed))
        self.belief = np.asarray(sums, np.float64)

    def _forget(self) -> None:
        """Squares with next to no belief are followed no longer: theirs becomes even."""
        least = _FORGET
        if len(self.belief) > _FOLLOWED:
            least = max(least, float(np.partition(self.belief, -_FOLLOWED)[-_FOLLOWED]))
        kept = self.belief >= least
        self.even += float(self.belief[~kept].sum())
        self.followed, self.belief = self.followed[kept], self.belief[kept]

    def _best(self, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> Place | None:
        if not len(self.belief):
            return None
        square = int(self.followed[np.argmax(self.belief)])
        here = np.flatnonzero(self.cells.of[rows] == square)
        row = int(rows[here[0]]) if len(here) else self._row_of(square)
        shown = np.array([self._row_of(other) for other in self.followed.tolist()], np.int64)
        near = same_place(self.images, row, shown, self.radius_m) | (self.followed == square)
        return Place(
            row=row,
            score=float(scores[here[0]]) if len(here) else None,
            confidence=min(float(self.belief[near].sum()), self._not_all_wrong(row)),
        )

    def _not_all_wrong(self, row: int) -> float:
        """Chance that of the frames that speak for the place of ``row`` at least one is right.

        A frame speaks for every place the robot can have reached from its own since then.
        """
        if not self.calibrated:
            return 1.0
        recent = [each for each in self._spoke if self._now - each[0] <= _SPEAK_S]
        if not recent:
            return 0.0
        rows = np.array([each[1] for each in recent], np.int64)
        wrong = np.array([each[2] for each in recent])
        speaks = same_place(self.images, row, rows, self.radius_m)
        east, north = self.images.easting, self.images.northing
        away = np.hypot(east[rows] - east[row], north[rows] - north[row])
        past = self._now - np.array([each[0] for each in recent])
        speaks |= away <= self.radius_m + self.max_speed * past  # nan: no position, no reach
        return 1.0 - math.exp(float(wrong[speaks].sum()))

    def _row_of(self, square: int) -> int:
        return self._seen.get(square, int(self.cells.row[square]))
