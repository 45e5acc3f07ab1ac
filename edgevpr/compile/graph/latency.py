"""Latency of graphs on this CPU, taken in turns: what else the machine does hits all alike."""

import time

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.compile.graph.reference import session

#: Rounds that are thrown away, and the most that count.
WARM_UP, ROUNDS = 10, 100
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
    """Time graphs in ONNX Runtime in turns.

    Args:
        image: (H, W, 3) uint8.
        threads: one by default: the steadier figure, and what a shared robot CPU can spare.
        budget_s: seconds after which no further round starts.
    """
    runners = {name: session(graph, threads=threads) for name, graph in graphs.items()}
    feeds = {name: {r.get_inputs()[0].name: image[None]} for name, r in runners.items()}
    times: dict[str, list[float]] = {name: [] for name in graphs}
    started = time.perf_counter()
    for round_ in range(WARM_UP + ROUNDS):
        if round_ > WARM_UP + 4 and time.perf_counter() - started > budget_s:
            break
        for name, runner in runners.items():
            begin = time.perf_counter()
            runner.run(None, feeds[name])
            if round_ >= WARM_UP:
                times[name].append(1e3 * (time.perf_counter() - begin))
    return {
        name: Latency(
            p50_ms=round(float(np.median(values)), 4),
            p95_ms=round(float(np.percentile(values, 95)), 4),
            rounds=len(values),
            threads=threads,
        )
        for name, values in times.items()
    }
