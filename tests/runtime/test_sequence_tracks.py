"""Tracks against a Kalman filter in matrices."""

import numpy as np
import pytest

from edgevpr.runtime.sequence_tracks import Motion, Tracks


def test_one_track_is_a_kalman_filter() -> None:
    """One track and one candidate a frame: position, velocity and covariance of the textbook
    filter, to 1e-6 over 30 frames."""
    motion = Motion(max_speed=60.0, acceleration=0.7, spacing=3.0)
    tracks = Tracks(motion)
    draw = np.random.default_rng(0)
    first = np.array([5.0, -2.0])
    row = np.array([0])
    tracks.update(first[None], row, np.ones(1), 0.5, np.ones(1))
    state = np.stack([first, np.zeros(2)])  # position, velocity; a column an axis
    matrix = np.diag([9.0, 30.0**2])
    reads = np.array([[1.0, 0.0]])
    for _ in range(30):
        passed = float(draw.choice([0.05, 0.1, 0.4]))
        step = np.array([[1.0, passed], [0.0, 1.0]])
        push = np.array([[passed**2 / 2], [passed]])
        state, matrix = step @ state, step @ matrix @ step.T + 0.49 * push @ push.T
        seen = state[0] + draw.normal(0.0, 2.0, 2)
        total = reads @ matrix @ reads.T + 9.0
        gain = matrix @ reads.T / total
        state, matrix = state + gain @ (seen - state[0])[None], (np.eye(2) - gain @ reads) @ matrix
        tracks.predict(passed)
        tracks.update(seen[None], row, np.ones(1), 0.5, np.full(1, 1e-300))
        tracks.keep(np.array([len(tracks) - 1]))
        np.testing.assert_allclose(tracks.position[0], state[0], atol=1e-6)
        np.testing.assert_allclose(tracks.velocity[0], state[1], atol=1e-6)
        np.testing.assert_allclose(tracks.covariance[0], matrix[[0, 0, 1], [0, 1, 1]], rtol=1e-6)


def test_a_track_never_exceeds_the_speed() -> None:
    tracks = Tracks(Motion(max_speed=10.0, acceleration=0.7, spacing=3.0))
    for second in range(5):
        tracks.predict(1.0)
        at = np.array([[40.0 * second, 0.0]])
        tracks.update(at, np.array([0]), np.ones(1), 0.5, np.full(1, 1e-9))
        speed = np.hypot(*tracks.velocity.T)
        assert speed.max() <= 10.0 + 1e-9
        assert (tracks.covariance[:, 0] * tracks.covariance[:, 2]
                >= tracks.covariance[:, 1] ** 2).all()  # fmt: skip


def test_an_update_keeps_belief_in_proportion() -> None:
    """A candidate far from every track gets what is new; a track that sees nothing keeps
    ``elsewhere`` of its belief."""
    tracks = Tracks(Motion(max_speed=10.0, acceleration=0.7, spacing=3.0))
    tracks.update(np.zeros((1, 2)), np.array([4]), np.ones(1), 0.5, np.array([0.8]))
    tracks.predict(1.0)
    tracks.update(np.array([[900.0, 0.0]]), np.array([7]), np.array([6.0]), 0.5, np.array([0.1]))
    assert tracks.row.tolist() == [4, 7]
    assert tracks.belief == pytest.approx([0.4, 0.1])
