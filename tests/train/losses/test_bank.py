"""The geographical memory bank against a direct float64 computation."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

from edgevpr.errors import DataError, UsageError
from edgevpr.train.losses.bank import build_bank, covariances


def _features(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    x = rng.normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_bank_is_mean_and_variance_of_each_place(block: int) -> None:
    """Also where a place is split over blocks (Eq. 2)."""
    rng = np.random.default_rng(0)
    places = rng.integers(10, 30, 200)
    places[::17] = -1
    x = _features(rng, 200, 12)
    bank = build_bank(x, places, block=block)
    assert bank.places.tolist() == sorted(set(places[places >= 0]))
    for i, place in enumerate(bank.places):
        members = x[places == place].astype(np.float64)
        np.testing.assert_allclose(bank.centroids[i], members.mean(0), atol=1e-6)
        np.testing.assert_allclose(bank.variances[i], members.var(0), atol=1e-6)
        assert bank.counts[i] == len(members)


def test_a_place_with_one_image_has_no_variance() -> None:
    x = _features(np.random.default_rng(1), 3, 8)
    bank = build_bank(x, np.array([4, 9, 9]))
    assert (bank.variances[0] == 0).all()


def test_small_variance_does_not_cancel() -> None:
    """E[x^2] - E[x]^2 in float32 would lose every digit here."""
    base = np.float32(0.5)
    x = base + np.arange(1000, dtype=np.float32)[:, None] * 1e-6 * np.ones((1, 2), np.float32)
    places = np.zeros(1000, int)
    bank = build_bank(np.vstack([x, x[:1]]), np.append(places, 1), block=64)
    np.testing.assert_allclose(bank.variances[0], x.astype(np.float64).var(0), rtol=1e-2)


def test_equation_9() -> None:
    """q^T S q is the sum over eigenvectors."""
    rng = np.random.default_rng(4)
    places = rng.integers(0, 4, 80)
    x = _features(rng, 80, 6)
    bank = build_bank(x, places)
    full = covariances(x, places, bank)
    np.testing.assert_allclose(np.diagonal(full, axis1=1, axis2=2), bank.variances, atol=1e-6)
    q = rng.normal(size=6)
    for place in range(4):
        values, vectors = np.linalg.eigh(full[place])
        direct = np.cov(x[places == place].astype(np.float64).T, bias=True)
        assert q @ direct @ q == pytest.approx(np.sum(values * (vectors.T @ q) ** 2), rel=1e-9)
    wide = dataclasses.replace(bank, centroids=np.zeros((4, 20000), np.float32))
    with pytest.raises(UsageError, match="GB"):
        covariances(x, places, wide)


def test_one_place_is_refused() -> None:
    """A contrastive loss needs negatives."""
    with pytest.raises(DataError, match="expected 2 or more"):
        build_bank(_features(np.random.default_rng(2), 4, 8), np.zeros(4, int))


def test_rows_of_an_unknown_place() -> None:
    bank = build_bank(_features(np.random.default_rng(3), 4, 8), np.array([1, 1, 3, 3]))
    assert bank.rows(np.array([3, 1])).tolist() == [1, 0]
    with pytest.raises(ValueError, match="not in the bank"):
        bank.rows(np.array([2]))


def test_hidden_rows_of_neighbours() -> None:
    """Place ids become rows, the own one first."""
    bank = build_bank(np.eye(6, dtype=np.float32), np.array([3, 9, 4, 9, 30, 4]))
    near = {4: np.array([3, 30]), 30: np.array([4])}
    hidden = bank.hidden(near)
    assert hidden.tolist() == [[0, -1, -1], [1, 0, 3], [2, -1, -1], [3, 1, -1]]
    assert bank.hidden({}) is None
