"""Sequence filter: a discrete Bayes filter over the map, fed by every frame of a run.

The belief is over the squares of ``sequence_cells`` and one state more, off the map.

Motion: at most ``max_speed`` metres a second, to squares that touch; as many steps as the time
since the last frame allows. A share of the belief is spread anew, half over the map and half off
it, once in ``LOST_S`` seconds on average: the robot was carried off, or the filter was wrong.

Observation: one frame's posterior from its search, divided by the prior it was fitted under
(scaled likelihood, Bourlard and Morgan 1994). The best place gets the frame's confidence; the other
places found share the rest by a softmax of their similarities at the model's temperature, up to the
model's ``runners_up``; what remains is uniform over the map and off it. Only places found are
updated, so that the cost of a frame does not grow with the map. Errors of frames close in time are
correlated: evidence counts by the second (``INDEPENDENT_S``), not by the frame.

Frames that agree on a wrong place are common, because similar views mislead alike. The confidence
of an answer is therefore the belief, but never more than the chance that not all of the last frames
that support the place are wrong, their own confidences taken as independent.

Belief off the map, likelihoods from similarities of the top images: Xu, Suenderhauf and Milford,
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
#: Seconds of the last frames that may support a place, and at most so many of them.
_SUPPORT_S, _SUPPORT = 10.0, 256
#: Least weight of a frame, for a clock that stands still.
_LEAST_WEIGHT = 0.02
#: Steps of one frame at most; a longer gap loses the robot in proportion.
_STEPS = 8
#: Squares whose belief is kept one by one, at most, and the belief below which one is not.
_TRACKED = 512
_LEAST_BELIEF = 1e-7
#: Where the gallery has no confidence model: confidence of a frame's best place, temperature, and
#: share of the rest for the other places found.
WITHOUT_MODEL = (0.5, 0.03, 0.1)


@dataclass(frozen=True)
class SequencePlace:
    """The place of the highest belief."""

    #: gallery image that shows it.
    row: int
    #: its similarity to this frame; None where the search of this frame did not find it.
    score: float | None
    #: that the robot is within the radius of it.
    confidence: float


class SequenceFilter:
    """Belief over a map, updated by ``step`` with every frame's search in order; one a run.

    Args:
        images: of the gallery.
        kept: (N,) which of them are still in the map; all without it.
        radius_m: two positions closer than this are one place; the confidence model's if given.
        confidence_model: of the gallery, for the network that runs; without one the filter knows no
            state off the map, and its belief is no probability to rely on.
        max_speed: metres a second the robot cannot exceed.
        live: times are those of capture on the machine's monotonic clock, not the frames' own.
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
        self.has_model = confidence_model is not None
        self.radius_m = confidence_model.radius_m if confidence_model else radius_m
        self.temperature = confidence_model.temperature if confidence_model else WITHOUT_MODEL[1]
        self.runners_up = confidence_model.runners_up if confidence_model else WITHOUT_MODEL[2]
        self.cells = cells_of(images, self.radius_m, kept)
        #: belief off the map, belief uniform over all squares, and belief added to tracked ones.
        self.off_map = 0.5 if self.has_model else 0.0
        self.uniform = 1.0 - self.off_map
        self.tracked: NDArray[np.int64] = np.empty(0, np.int64)
        self.belief: NDArray[np.float64] = np.empty(0)
        self._time: float | None = None
        #: seconds since the first frame, which never go back.
        self._now = 0.0
        #: the image last found of a square.
        self._seen: dict[int, int] = {}
        #: of the last frames: time, best image, weighted log of the probability that it is wrong.
        self._supports: deque[tuple[float, int, float]] = deque(maxlen=_SUPPORT)

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
            time: seconds on any clock; one that goes back counts as standing still. None: one
                frame a second.
            confidence: of the frame's best place.
        """
        weight = self._advance(time)
        found = rows[:SEARCH_DEPTH] >= 0
        scores, rows = scores[:SEARCH_DEPTH][found], rows[:SEARCH_DEPTH][found]
        if len(rows):
            squares, odds, elsewhere = self.observe(scores, rows, confidence)
            self.update(squares, odds**weight, elsewhere**weight)
            if confidence is not None:
                wrong = weight * math.log(max(1.0 - confidence, 1e-6))
                self._supports.append((self._now, int(rows[0]), wrong))
        return self._best(scores, rows)

    def _advance(self, time: float | None) -> float:
        """Move the belief to the time of a frame; returns the frame's weight, up to 1."""
        passed, first = FRAME_S, self._time is None
        if time is not None:
            passed = max(time - self._time, 0.0) if self._time is not None else 0.0
        self._time = time if time is not None else (self._time or 0.0) + FRAME_S
        if first:
            return 1.0
        self._now += passed
        self.move(passed)
        return min(1.0, max(passed / INDEPENDENT_S, _LEAST_WEIGHT))

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
        anew = 0.5 if self.has_model else 0.0
        self.off_map = self.off_map * (1.0 - lost) + lost * anew
        self.uniform = self.uniform * (1.0 - lost) + lost * (1.0 - anew)

    def _hop(self, leaving: float) -> None:
        """One step: a share ``leaving`` of each square's belief to those that touch it."""
        if not len(self.tracked):
            return
        share = leaving * self.cells.share[self.tracked]
        to = self.cells.touching[self.tracked]
        moved = (self.belief[:, None] * share)[to >= 0]
        stays = self.belief * (1.0 - share.sum(axis=1))
        self._track(np.concatenate([self.tracked, to[to >= 0]]), np.concatenate([stays, moved]))

    def observe(
        self, scores: NDArray[np.float32], rows: NDArray[np.int64], confidence: float | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
        """Likelihoods from one frame's search: squares found, theirs, that of all else."""
        best = WITHOUT_MODEL[0] if confidence is None else min(max(confidence, 1e-6), 1 - 1e-6)
        worth = np.exp((scores.astype(np.float64) - float(scores[0])) / self.temperature)
        same = same_place(self.images, int(rows[0]), rows, self.radius_m)
        squares, of = np.unique(self.cells.of[rows], return_inverse=True)
        of = of.reshape(-1)
        # Each square by its most similar image. All that show the best place share its confidence,
        # the others the share that runners-up had on held-out images.
        first, other = np.zeros(len(squares)), np.zeros(len(squares))
        np.maximum.at(first, of[same], worth[same])
        np.maximum.at(other, of[~same], worth[~same])
        posterior = best * first / first.sum()
        rest = 1.0 - best
        if other.any():
            # never above the best place: less similar is not likelier
            shared = rest * self.runners_up * other / other.sum()
            shared = np.minimum(shared, best * other)
            posterior += shared
            rest -= float(shared.sum())
        for row, square in zip(rows[::-1].tolist(), squares[of][::-1].tolist(), strict=True):
            self._seen[square] = row
        # Divided by the prior: a half off the map (or nothing), the other even over it. What is
        # left of the posterior lies on all else in proportion to that prior.
        prior = (0.5 if self.has_model else 1.0) / len(self.cells)
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
        gained = (odds - elsewhere) * self.uniform / len(self.cells)
        factor = np.full(len(self.tracked), elsewhere)
        place = np.searchsorted(squares, self.tracked)
        place = np.minimum(place, len(squares) - 1)
        hit = squares[place] == self.tracked
        factor[hit] = odds[place[hit]]
        self.belief = self.belief * factor
        self.uniform *= elsewhere
        self.off_map *= elsewhere
        self._track(np.concatenate([self.tracked, squares]), np.concatenate([self.belief, gained]))
        total = self.uniform + self.off_map + float(self.belief.sum())
        self.uniform /= total
        self.off_map /= total
        self.belief = self.belief / total
        self._prune()

    def _track(self, squares: NDArray[np.int64], belief: NDArray[np.float64]) -> None:
        """Sum the belief of squares named more than once."""
        self.tracked, inverse = np.unique(squares, return_inverse=True)
        sums = np.bincount(inverse.reshape(-1), belief, len(self.tracked))
        self.belief = np.asarray(sums, np.float64)

    def _prune(self) -> None:
        """Stop tracking squares of negligible belief; theirs becomes uniform."""
        least = _LEAST_BELIEF
        if len(self.belief) > _TRACKED:
            least = max(least, float(np.partition(self.belief, -_TRACKED)[-_TRACKED]))
        kept = self.belief >= least
        self.uniform += float(self.belief[~kept].sum())
        self.tracked, self.belief = self.tracked[kept], self.belief[kept]

    def _best(self, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> SequencePlace | None:
        if not len(self.belief):
            return None
        square = int(self.tracked[np.argmax(self.belief)])
        here = np.flatnonzero(self.cells.of[rows] == square)
        row = int(rows[here[0]]) if len(here) else self._row_of(square)
        shown = np.array([self._row_of(other) for other in self.tracked.tolist()], np.int64)
        near = same_place(self.images, row, shown, self.radius_m) | (self.tracked == square)
        return SequencePlace(
            row=row,
            score=float(scores[here[0]]) if len(here) else None,
            confidence=min(float(self.belief[near].sum()), self._not_all_wrong(row)),
        )

    def _not_all_wrong(self, row: int) -> float:
        """Probability that at least one frame that supports the place of ``row`` is right.

        A frame supports every place that the robot can have reached since then from its own.
        """
        if not self.has_model:
            return 1.0
        recent = [each for each in self._supports if self._now - each[0] <= _SUPPORT_S]
        if not recent:
            return 0.0
        rows = np.array([each[1] for each in recent], np.int64)
        wrong = np.array([each[2] for each in recent])
        supports = same_place(self.images, row, rows, self.radius_m)
        east, north = self.images.easting, self.images.northing
        away = np.hypot(east[rows] - east[row], north[rows] - north[row])
        past = self._now - np.array([each[0] for each in recent])
        supports |= away <= self.radius_m + self.max_speed * past  # nan: no position, no reach
        return 1.0 - math.exp(float(wrong[supports].sum()))

    def _row_of(self, square: int) -> int:
        return self._seen.get(square, int(self.cells.row[square]))
