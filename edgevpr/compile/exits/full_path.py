"""Whole path of a network with early exits: through its segments, or as one graph.

Segments hold every weight once, but no fusion crosses a cut. On a target whose engine runs on this
machine both are timed in turns, and the segments must be within a limit of the one graph.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.compile.exits.cut import SINGLE, Cut
from edgevpr.compile.graph.latency import Latency, route_latencies
from edgevpr.device.cpu import cpu_name

#: The segments' median latency may be this many times that of the one graph.
LIMIT = 1.03


def measure_routes(
    cut: Cut,
    graphs: Mapping[str, onnx.ModelProto],
    single: onnx.ModelProto,
    fp32: Mapping[str, onnx.ModelProto] | None,
    image: NDArray[np.uint8],
) -> dict[str, Latency]:
    """Latency of each exit on this machine, of the one graph ("model") and of "fp32".

    Args:
        graphs: in their precision, by name.
        fp32: the clean graphs, whose whole path is timed as "fp32"; None: ``graphs`` are those.
    """
    routes = {name: [graphs[key] for key in route] for name, route in cut.routes.items()}
    routes[SINGLE] = [single]
    if fp32 is not None:
        routes["fp32"] = [fp32[key] for key in cut.routes[FULL]]
    return route_latencies(routes, image)


def segments_will_do(found: Mapping[str, Latency]) -> bool:
    """Whether the whole path through the segments is within the limit of the one graph."""
    return found[FULL].p50_ms <= LIMIT * found[SINGLE].p50_ms


def full_path_evidence(found: Mapping[str, Latency], *, segments: bool) -> dict[str, Any]:
    """Both figures, the limit and what was chosen."""
    return {
        "runs": "segments" if segments else "model.onnx",
        "segments": msgspec.structs.asdict(found[FULL]),
        "model.onnx": msgspec.structs.asdict(found[SINGLE]),
        "ratio": round(found[FULL].p50_ms / found[SINGLE].p50_ms, 4),
        "limit": LIMIT,
        "provenance": "measured",
        "device": f"ONNX Runtime {onnxruntime.__version__} on {cpu_name()}",
    }
