"""Parity of a typed or quantized graph's descriptors with the FP32 network's, and its gates.

numpy alone: a board runs this after it has built its engine.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import NumericsError
from edgevpr.printable import counted

#: Smallest cosine to FP32 that the worst image may have, per precision; below it compile fails.
#: INT8 has no such gate: it is judged by recall, which takes a gallery to measure.
GATES = {"fp32": 0.99999, "fp16": 0.999, "int8": None}
#: Below this an INT8 graph still compiles, with a warning that stands in its evidence.
INT8_WARNING = 0.9


class Parity(msgspec.Struct, frozen=True):
    """Descriptors of one graph against another's, over ``images`` images."""

    images: int
    max_abs_error: float
    min_cosine: float
    mean_cosine: float
    #: extremes of the descriptors' own lengths, which should be 1.
    min_norm: float
    max_norm: float


def compare(found: NDArray[np.float32], expected: NDArray[np.float32]) -> Parity:
    """Row by row parity of two (n, D) arrays; ``expected`` has unit rows."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    norms = np.linalg.norm(a, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (a * b).sum(1) / (norms * np.linalg.norm(b, axis=1))
    return Parity(
        images=len(a),
        max_abs_error=float(np.abs(a - b).max()),
        min_cosine=float(cosine.min()),
        mean_cosine=float(cosine.mean()),
        min_norm=float(norms.min()),
        max_norm=float(norms.max()),
    )


def check_finite(descriptors: NDArray[np.float32], source: str) -> None:
    """Raise NumericsError if any of ``source``'s (n, D) descriptors holds NaN or infinity."""
    bad = int((~np.isfinite(descriptors)).any(axis=1).sum())
    if bad:
        raise NumericsError(
            f"found NaN or infinity from {source} on {bad} of {len(descriptors)} images, expected "
            "numbers: run edgevpr compile MODEL --precision fp32, and edgevpr train IMAGES again "
            "if that fails too"
        )


def gate(parity: Parity, precision: str, path: str = "") -> list[str]:
    """Pass, warn or refuse a graph by its parity with FP32.

    Args:
        path: of a network with early exits, the exit in words.

    Returns:
        warnings, none when all is well.

    Raises:
        NumericsError: the worst image's cosine is below the precision's gate.
    """
    least = GATES[precision]
    what = f"{path} in {precision}" if path else f"the {precision} graph"
    if least is not None and not parity.min_cosine >= least:
        again = "--precision fp32" if precision == "fp16" else "--no-cache"
        raise NumericsError(
            f"found cosine {parity.min_cosine:.5f} to FP32 from {what} on its worst of "
            f"{counted(parity.images, 'image')}, expected at least {least}: run edgevpr compile "
            f"MODEL {again}"
        )
    if precision == "int8" and not parity.min_cosine >= INT8_WARNING:
        return [
            f"{what} has cosine {parity.min_cosine:.3f} to FP32 on its worst of "
            f"{counted(parity.images, 'image')} (mean {parity.mean_cosine:.3f}): check its recall "
            "before use"
        ]
    return []
