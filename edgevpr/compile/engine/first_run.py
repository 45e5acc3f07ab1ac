"""First run of a new engine: parity on the golden images, latency of one image."""

import functools
from collections.abc import Mapping
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.arrays import read_array
from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.compile.engine.parity import Parity, check_finite, compare
from edgevpr.errors import NumericsError
from edgevpr.printable import counted
from edgevpr.runtime.engines.runner import AnytimeRunner, Runner, runner_from_bundle
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
    #: of a bundle with early exits: the same by exit, "full" last; empty: there are none.
    exits: dict[str, "FirstRun"] = {}


def first_run(bundle: Artifact, engine: str) -> FirstRun:
    """Run the golden inputs of a bundle through each exit, then one of them again and again.

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
        calls = {FULL: lambda _: runner.infer(images[:1])}
        early = _early(bundle, record, runner, images, engine)
        for name in early:
            calls[name] = functools.partial(_answer, runner, images[:1], name)
        samples = time_turns(calls, rounds=ROUNDS, budget_s=BUDGET_S)
        latency = {name: _latency(samples[name], runner.device) for name in calls}
    full = FirstRun(compare(found, expected), latency[FULL])
    if not early:
        return full
    exits = {name: FirstRun(parity, latency[name]) for name, parity in early.items()}
    return FirstRun(full.parity, full.latency, {**exits, FULL: full})


def check_exits(run: FirstRun, least: Mapping[str, float | None], engine: str) -> None:
    """Raise NumericsError where an exit, or the whole path, is further from FP32 than allowed.

    Args:
        least: by exit; "full" alone of a bundle without exits.
    """
    check_parity(run.parity, least[FULL], engine)
    for name, exit in run.exits.items():
        if name != FULL:
            check_parity(exit.parity, least[name], f"{engine} at exit {name}")


def _early(
    bundle: Artifact,
    record: BundleRecord,
    runner: Runner,
    images: NDArray[np.uint8],
    engine: str,
) -> dict[str, Parity]:
    """Parity of each early exit."""
    names = [exit.name for exit in record.exits if exit.name != FULL]
    if not names:
        return {}
    shape = (len(names), len(images), record.output_dim)
    golden = read_array(bundle, "golden_exits.npy", np.float32, shape)
    found = {}
    for name, expected in zip(names, golden, strict=True):
        rows = [_answer(runner, images[i : i + 1], name, 0) for i in range(len(images))]
        descriptors = np.concatenate(rows)
        check_finite(descriptors, f"{engine} at exit {name}")
        found[name] = compare(descriptors, expected)
    return found


def _answer(runner: Runner, image: NDArray[np.uint8], name: str, _: int) -> NDArray[np.float32]:
    """(1, d) descriptor of one image by an early exit."""
    anytime = cast("AnytimeRunner", runner)
    anytime.start(image)
    return anytime.at(name)


def check_parity(parity: Parity, least: float | None, engine: str) -> None:
    """Raise NumericsError where the worst golden image is further from FP32 than allowed."""
    if least is not None and not parity.min_cosine >= least:
        raise NumericsError(
            f"found cosine {parity.min_cosine:.5f} to FP32 from {engine} on its worst of "
            f"{counted(parity.images, 'golden image')}, expected at least {least}: run edgevpr "
            "compile MODEL --precision fp32"
        )


def _latency(samples: list[float], device: str) -> EngineLatency:
    p50, p95 = percentiles(samples, 50, 95)
    return EngineLatency(p50, p95, len(samples), device)
