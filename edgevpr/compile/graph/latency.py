"""Latency of graphs in ONNX Runtime on this CPU, measured in turns."""

import functools

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.compile.graph.reference import session
from edgevpr.timing import percentiles, time_turns

#: Rounds that count at most.
ROUNDS = 100
#: Seconds after which no further round starts.
BUDGET_S = 6.0


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds of one inference of one image."""

    p50_ms: float
    p95_ms: float
    rounds: int
    threads: int


def latencies(
    graphs: dict[str, onnx.ModelProto],
    image: NDArray[np.uint8],
    *,
    threads: int = 1,
    budget_s: float = BUDGET_S,
) -> dict[str, Latency]:
    """Time graphs in turns.

    Args:
        image: (H, W, 3) uint8.
        threads: one by default, which varies less and is what a robot's shared CPU can spare.
        budget_s: seconds after which no further round starts.
    """
    runners = {name: session(graph, threads=threads) for name, graph in graphs.items()}
    feeds = {name: {r.get_inputs()[0].name: image[None]} for name, r in runners.items()}

    def infer(name: str, _: int) -> None:
        runners[name].run(None, feeds[name])

    calls = {name: functools.partial(infer, name) for name in graphs}
    samples = time_turns(calls, rounds=ROUNDS, budget_s=budget_s)
    found = {}
    for name, values in samples.items():
        p50, p95 = percentiles(values, 50, 95)
        found[name] = Latency(p50, p95, len(values), threads)
    return found
