"""Parity, and the gates of each precision."""

import numpy as np
import pytest

from edgevpr.compile.engine.parity import check_finite, compare, gate
from edgevpr.errors import NumericsError
from edgevpr.retrieval.projection import l2_normalize


def rotated(cosine: float, rows: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows, and unit rows of which the first has this cosine to its own."""
    expected = l2_normalize(np.random.default_rng(0).standard_normal((rows, 16)))
    other = np.random.default_rng(1).standard_normal(16)
    other -= (other @ expected[0]) * expected[0]
    found = expected.copy()
    found[0] = cosine * expected[0] + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)
    return found.astype(np.float32), expected


def test_parity_is_of_the_worst_and_the_mean() -> None:
    parity = compare(*rotated(0.9))
    assert parity.images == 5
    assert parity.min_cosine == pytest.approx(0.9, abs=1e-6)
    assert parity.mean_cosine == pytest.approx(0.98, abs=1e-6)
    assert parity.min_norm == pytest.approx(1, abs=1e-6)


def test_fp16_below_its_gate_is_refused() -> None:
    assert gate(compare(*rotated(0.9995)), "fp16") == []
    with pytest.raises(NumericsError, match=r"0\.99800 .* expected at least 0\.999: .*fp32"):
        gate(compare(*rotated(0.998)), "fp16")


def test_int8_warns_and_leaves_the_judgement_to_recall() -> None:
    """INT8 with a low cosine is a warning, not an error."""
    assert gate(compare(*rotated(0.95)), "int8") == []
    (warning,) = gate(compare(*rotated(0.8)), "int8")
    assert "0.800" in warning


def test_a_zero_descriptor_does_not_pass() -> None:
    """Its cosine is 0/0, which no gate lets pass."""
    found, expected = rotated(1.0)
    found[2] = 0
    with pytest.raises(NumericsError):
        gate(compare(found, expected), "fp16")
    assert gate(compare(found, expected), "int8")


def test_nan_is_counted() -> None:
    """The message has the number of images."""
    found, _ = rotated(1.0)
    check_finite(found, "the graph")
    found[1, 3] = np.inf
    found[4, 0] = np.nan
    with pytest.raises(NumericsError, match="NaN or infinity from the graph on 2 of 5 images"):
        check_finite(found, "the graph")
