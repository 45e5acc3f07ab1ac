"""Histogram of times in which a sample counts less with every sample after it."""

import math

import numpy as np
from numpy.typing import NDArray

#: Samples after which one counts e times less.
MEMORY = 30
#: Bins, each ``_STEP`` times the one before, from ``_LEAST_MS`` to over a minute.
_LEAST_MS, _STEP, _BINS = 0.02, 1.03, 512
_DECAY = math.exp(-1.0 / MEMORY)


class DecayingHistogram:
    """Times in milliseconds, in bins of 3 %.

    With ``MEMORY`` 30 two slow samples in a row move the 95th percentile and a single one does
    not; it falls again about 90 samples after the last slow one.
    """

    def __init__(self) -> None:
        self._weights: NDArray[np.float64] = np.zeros(_BINS)

    def add(self, ms: float, weight: float = 1.0) -> None:
        """One sample; all before it count less."""
        self._weights *= _DECAY
        self._weights[_bin(ms)] += weight

    def percentile(self, percent: float) -> float | None:
        """Upper edge of the bin that it falls in; None without a sample."""
        total = float(self._weights.sum())
        if total <= 0.0:
            return None
        reached = np.cumsum(self._weights) >= total * percent / 100.0 - 1e-12
        return float(_LEAST_MS * _STEP ** (int(np.argmax(reached)) + 1))

    def take(self, other: "DecayingHistogram", factor: float) -> None:
        """Become ``other`` with every time ``factor`` times as long."""
        shift = round(math.log(factor) / math.log(_STEP)) if factor > 0 else 0
        weights = np.zeros(_BINS)
        np.add.at(weights, np.clip(np.arange(_BINS) + shift, 0, _BINS - 1), other._weights)
        self._weights = weights


def _bin(ms: float) -> int:
    if not ms > _LEAST_MS:  # NaN, too
        return 0
    return min(int(math.log(min(ms, 1e9) / _LEAST_MS) / math.log(_STEP)), _BINS - 1)
