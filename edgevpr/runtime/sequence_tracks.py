"""Tracks of the sequence filter: positions and velocities the robot may have, each with a belief.

Constant velocity with random acceleration, and a Kalman filter for each track; one matrix of two
by two is its covariance along either axis. Blackman, Multiple Hypothesis Tracking for Multiple
Target Tracking (IEEE AESM 2004); tracks that meet at one candidate are merged into the likeliest.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """How the robot moves; units are those of the ``Layout`` a second (or a frame)."""

    max_speed: float
    #: standard deviation of the acceleration.
    acceleration: float
    #: distance between places, and that of a candidate from the robot (standard deviation).
    spacing: float


@dataclass
class Tracks:
    """T tracks; all arrays share their first axis."""

    motion: Motion
    position: Floats = field(default_factory=lambda: np.zeros((0, 2)))
    velocity: Floats = field(default_factory=lambda: np.zeros((0, 2)))
    #: (T, 3) variance of the position, covariance with the velocity, variance of the velocity.
    covariance: Floats = field(default_factory=lambda: np.zeros((0, 3)))
    belief: Floats = field(default_factory=lambda: np.zeros(0))
    #: (T,) gallery image last found on the track.
    row: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.belief)

    def predict(self, passed: float) -> None:
        """Move every track ``passed`` seconds (or frames) on, never faster than ``max_speed``."""
        if not len(self) or not passed:
            return
        move = self.motion
        place, both, speed = self.covariance.T
        noise = move.acceleration**2
        reach = (move.max_speed * passed + move.spacing) ** 2
        grown = 2 * passed * both + passed**2 * speed + noise * passed**4 / 4
        new_place = place + np.minimum(grown, reach)
        new_speed = np.minimum(speed + noise * passed**2, move.max_speed**2)
        limit = 0.98 * np.sqrt(new_place * new_speed)  # keeps the matrix positive definite
        new_both = np.clip(both + passed * speed + noise * passed**3 / 2, -limit, limit)
        self.position = self.position + self.velocity * passed
        self.covariance = np.stack([new_place, new_both, new_speed], axis=1)

    def update(
        self,
        at: Floats,
        rows: NDArray[np.int64],
        likelihood: Floats,
        elsewhere: float,
        fresh: Floats,
    ) -> None:
        """Bayes' rule with one frame, without normalizing; K tracks are added.

        Args:
            at, rows: (K, 2) positions of the candidates and (K,) their images.
            likelihood: (K,) of each candidate; ``elsewhere`` that of every other place.
            fresh: (K,) belief, times likelihood, that the robot is there and on no track.
        """
        move = self.motion
        measured = move.spacing**2
        count = len(at)
        position, velocity = at.copy(), np.zeros((count, 2))
        covariance = np.tile([measured, 0.0, (move.max_speed / 2) ** 2], (count, 1))
        belief = fresh.copy()
        if len(self):
            away = at[None] - self.position[:, None]
            total = self.covariance[:, 0] + measured
            # chance that a robot on the track is nearest to the candidate's place
            chance = np.exp(-0.5 * (away**2).sum(axis=2) / total[:, None])
            chance *= np.minimum(1.0, move.spacing / np.sqrt(2 * math.pi * total))[:, None]
            joint = self.belief[:, None] * chance * likelihood[None]
            parent = joint.argmax(axis=0)
            taken = np.flatnonzero(joint[parent, np.arange(count)] > fresh)
            of = parent[taken]
            place, both, speed = self.covariance[of].T
            gain, gain_speed = place / total[of], both / total[of]
            innovation = away[of, taken]
            position[taken] = self.position[of] + gain[:, None] * innovation
            velocity[taken] = self.velocity[of] + gain_speed[:, None] * innovation
            covariance[taken] = np.stack(
                [(1 - gain) * place, (1 - gain) * both, speed - gain_speed * both], axis=1
            )
            belief += joint.sum(axis=0)
            missed = 1.0 - np.clip(chance.sum(axis=1), 0.0, 1.0)
            self.belief = self.belief * elsewhere * missed
        self.position = np.concatenate([self.position, position])
        self.velocity = np.concatenate([self.velocity, velocity])
        self.covariance = np.concatenate([self.covariance, covariance])
        self.belief = np.concatenate([self.belief, belief])
        self.row = np.concatenate([self.row, rows])
        fast = np.hypot(self.velocity[:, 0], self.velocity[:, 1])
        self.velocity *= np.minimum(1.0, move.max_speed / np.maximum(fast, 1e-9))[:, None]

    def keep(self, chosen: NDArray[np.int64]) -> None:
        """Only these tracks."""
        self.position, self.velocity = self.position[chosen], self.velocity[chosen]
        self.covariance, self.belief = self.covariance[chosen], self.belief[chosen]
        self.row = self.row[chosen]

    def near(self, point: Floats, distance: float) -> NDArray[np.bool_]:
        """(T,) tracks within ``distance`` of a point."""
        away = self.position - point
        return np.asarray(np.hypot(away[:, 0], away[:, 1]) <= distance)
