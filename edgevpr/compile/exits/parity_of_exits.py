"""Gate of each exit: its descriptors against the FP32 network's at the same exit.

An early exit that fails is dropped and named; the whole path may not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.compile.engine.parity import Parity, check_finite, compare, gate
from edgevpr.compile.exits.cut import Cut
from edgevpr.compile.exits.typed_parts import TypedParts
from edgevpr.compile.precision.calibration import extremes
from edgevpr.compile.stages import Stages
from edgevpr.errors import NumericsError

Descriptors = Mapping[str, NDArray[np.float32]]


@dataclass
class Judged:
    """Parity of the exits that passed, and why others did not."""

    passed: dict[str, Parity] = field(default_factory=dict)
    #: exit -> reason; "full" too, where the segments fail and the single graph must do.
    dropped: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    #: the error behind the reason of "full".
    refused: NumericsError | None = None
    #: exit -> images that are extreme, and least cosine on them.
    extremes: dict[str, dict[str, float]] = field(default_factory=dict)


def judge(
    cut: Cut,
    parts: TypedParts,
    golden: Descriptors,
    images: NDArray[np.uint8],
    stages: Stages,
    *,
    as_written: bool,
) -> Judged:
    """Run every exit in its precision and hold it to the gate.

    Args:
        cut: of clean graphs, in FP32.
        golden: exit -> (n, d) FP32 descriptors of ``images``.
    """
    graphs = {key: typed.graph for key, typed in parts.typed.items()}
    found = stages.describe_routes(graphs, cut.routes, images, as_written=as_written)
    hard = extremes(*images.shape[1:3])
    expected = stages.describe_routes(cut.graphs, cut.routes, hard)
    given = stages.describe_routes(graphs, cut.routes, hard, as_written=as_written)
    judged = Judged()
    for name in cut.routes:
        try:
            parity, warnings, row = _one(
                name, parts.precision, found[name], golden[name], given[name], expected[name]
            )
        except NumericsError as error:
            judged.dropped[name] = str(error)
            judged.refused = error if name == FULL else judged.refused
            continue
        judged.passed[name] = parity
        judged.warnings += [f"exit {name}: {text}" for text in warnings]
        judged.extremes[name] = row
    return judged


def _one(
    name: str,
    precision: str,
    found: NDArray[np.float32],
    golden: NDArray[np.float32],
    given: NDArray[np.float32],
    expected: NDArray[np.float32],
) -> tuple[Parity, list[str], dict[str, float]]:
    path = "the whole path" if name == FULL else f"exit {name}"
    check_finite(found, f"{path} in {precision}")
    parity = compare(found, golden)
    warnings = gate(parity, precision, path)
    sound = np.isfinite(expected).all(axis=1)
    if not sound.any():
        return parity, warnings, {"images": 0}
    check_finite(given[sound], f"{path} in {precision} (on black, white, noise and stripes)")
    hard = compare(given[sound], expected[sound])
    return parity, warnings, {"images": int(sound.sum()), "min_cosine": hard.min_cosine}
