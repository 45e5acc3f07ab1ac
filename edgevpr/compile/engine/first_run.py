"""A new engine's first run: golden inputs against golden descriptors, and how long one takes.

numpy alone: a board runs this after it has built its engine.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.manifest import Artifact
from edgevpr.compile.engine.parity import Parity, check_finite, compare
from edgevpr.errors import NumericsError

#: Rounds that are thrown away, the most that count, and seconds after which none is begun.
WARM_UP, ROUNDS, BUDGET_S = 10, 200, 5.0


class Infers(Protocol):
    """An engine, as the runtime room gives it."""

    device: str

    def infer(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, H, W, 3) uint8 RGB -> (B, d) float32."""


#: Loads a bundle's engine, within a ``with`` block.
OpenEngine = Callable[[Artifact], AbstractContextManager[Infers]]


class EngineLatency(msgspec.Struct, frozen=True):
    """Milliseconds of one inference of one image, copies to and from the device included."""

    p50_ms: float
    p95_ms: float
    rounds: int
    #: engine and device in words.
    device: str
    provenance: str = "measured"


class Trial(msgspec.Struct, frozen=True):
    """What the first run showed."""

    parity: Parity
    latency: EngineLatency


def try_engine(open_engine: OpenEngine, bundle: Artifact, folder: Path, what: str) -> Trial:
    """Run the golden inputs of a bundle, then one of them again and again.

    Args:
        folder: where the golden vectors lie.
        what: the engine in words, for messages.

    Raises:
        NumericsError: the engine gives NaN or infinity.
        TargetError: this machine cannot run it.
    """
    images = np.load(folder / "golden_inputs.npy", allow_pickle=False)
    expected = np.load(folder / "golden_descriptors.npy", allow_pickle=False)
    with open_engine(bundle) as engine:
        found = engine.infer(images)
        check_finite(found, what)
        latency = _time(engine, images[:1])
    return Trial(compare(found, expected), latency)


def check_parity(parity: Parity, least: float | None, what: str) -> None:
    """Raise NumericsError where the worst golden image is further from FP32 than allowed."""
    if least is not None and not parity.min_cosine >= least:
        raise NumericsError(
            f"{what} has cosine {parity.min_cosine:.5f} to FP32 on its worst of {parity.images} "
            f"golden images, expected at least {least}: compile with a safer --precision"
        )


def _time(engine: Infers, image: NDArray[np.uint8]) -> EngineLatency:
    times: list[float] = []
    started = time.perf_counter()
    for round_ in range(WARM_UP + ROUNDS):
        if len(times) > 4 and time.perf_counter() - started > BUDGET_S:
            break
        begin = time.perf_counter()
        engine.infer(image)
        if round_ >= WARM_UP:
            times.append(1e3 * (time.perf_counter() - begin))
    return EngineLatency(
        p50_ms=round(float(np.median(times)), 4),
        p95_ms=round(float(np.percentile(times, 95)), 4),
        rounds=len(times),
        device=engine.device,
    )
