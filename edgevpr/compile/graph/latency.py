"""Latency of graphs, and of chains of them, in ONNX Runtime on this CPU, measured in turns."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
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
    image: NDArray[Any],
    *,
    threads: int = 1,
    budget_s: float = BUDGET_S,
) -> dict[str, Latency]:
    """Time graphs in turns.

    Args:
        image: (H, W, 3) uint8, or the state that a part of a network reads.
        threads: one by default, which varies less and is what a robot's shared CPU can spare.
        budget_s: seconds after which no further round starts.
    """
    runners = {name: session(graph, threads=threads) for name, graph in graphs.items()}
    feeds = {name: {r.get_inputs()[0].name: image[None]} for name, r in runners.items()}

    def infer(name: str, _: int) -> None:
        runners[name].run(None, feeds[name])

    return _timed({n: functools.partial(infer, n) for n in graphs}, threads, budget_s)


def route_latencies(
    routes: Mapping[str, Sequence[onnx.ModelProto]],
    image: NDArray[np.uint8],
    *,
    threads: int = 1,
    budget_s: float = 2 * BUDGET_S,
) -> dict[str, Latency]:
    """Time chains of graphs in turns, each from image to descriptor.

    Every graph writes where the next one reads, as on a robot; graphs that chains share are loaded
    once.

    Args:
        image: (H, W, 3) uint8.
    """
    sessions: dict[int, onnxruntime.InferenceSession] = {}
    source = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(image[None]))
    calls = {}
    for name, graphs in routes.items():
        given, steps = source, []
        for graph in graphs:
            own = sessions.setdefault(id(graph), session(graph, threads=threads))
            binding = own.io_binding()
            binding.bind_ortvalue_input(own.get_inputs()[0].name, given)
            sink = own.get_outputs()[0]
            given = onnxruntime.OrtValue.ortvalue_from_shape_and_type(sink.shape, np.float32)
            binding.bind_ortvalue_output(sink.name, given)
            steps.append((own, binding))
        calls[name] = functools.partial(_run, steps)
    return _timed(calls, threads, budget_s)


def _run(steps: Sequence[tuple[onnxruntime.InferenceSession, Any]], _: int) -> None:
    for own, binding in steps:
        own.run_with_iobinding(binding)


def _timed(
    calls: Mapping[str, Callable[[int], object]], threads: int, budget_s: float
) -> dict[str, Latency]:
    samples = time_turns(calls, rounds=ROUNDS, budget_s=budget_s)
    found = {}
    for name, values in samples.items():
        p50, p95 = percentiles(values, 50, 95)
        found[name] = Latency(p50, p95, len(values), threads)
    return found
