"""First run of a new engine: parity on the golden images, latency of one image."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.arrays import read_array
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.compile.engine.parity import Parity, check_finite, compare
from edgevpr.errors import NumericsError
from edgevpr.printable import counted
from edgevpr.runtime.engines.runner import Runner, runner_from_bundle
from edgevpr.timing import percentiles, time_turns

#: Rounds that count at most, and seconds after which none is begun.
ROUNDS, BUDGET_S = 200, 5.0


class EngineLatency(msgspec.Struct, frozen=True):
    """Milliseconds of one inference of one image, copies to and from the device included."""

    p50_ms: float
    p95_ms: float
    rounds: int
    #: engine and device in words.
    device: str
    provenance: str = "measured"


class FirstRun(msgspec.Struct, frozen=True):
    """Result of the golden images and of the timing."""

    parity: Parity
    latency: EngineLatency


def first_run(bundle: Artifact, engine: str) -> FirstRun:
    """Run the golden inputs of a bundle, then one of them again and again.

    Args:
        bundle: with the engine in it.
        engine: name of the engine in messages.

    Raises:
        NumericsError: the engine gives NaN or infinity.
        TargetError: this machine cannot run it.
    """
    record = bundle.read("bundle.json", BundleRecord)
    size = record.preprocess
    images = read_array(bundle, "golden_inputs.npy", np.uint8, (None, size.height, size.width, 3))
    shape = (len(images), record.output_dim)
    expected = read_array(bundle, "golden_descriptors.npy", np.float32, shape)
    with runner_from_bundle(bundle) as runner:
        found = runner.infer(images)
        check_finite(found, engine)
        latency = _latency(runner, images[:1])
    return FirstRun(compare(found, expected), latency)


def check_parity(parity: Parity, least: float | None, engine: str) -> None:
    """Raise NumericsError where the worst golden image is further from FP32 than allowed."""
    if least is not None and not parity.min_cosine >= least:
        raise NumericsError(
            f"found cosine {parity.min_cosine:.5f} to FP32 from {engine} on its worst of "
            f"{counted(parity.images, 'golden image')}, expected at least {least}: run edgevpr "
            "compile MODEL --precision fp32"
        )


def _latency(runner: Runner, image: NDArray[np.uint8]) -> EngineLatency:
    samples = time_turns(
        {"engine": lambda _: runner.infer(image)}, rounds=ROUNDS, budget_s=BUDGET_S
    )["engine"]
    p50, p95 = percentiles(samples, 50, 95)
    return EngineLatency(p50, p95, len(samples), runner.device)
