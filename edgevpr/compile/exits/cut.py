"""Graphs of a network that is cut at its early exits, and the routes through them.

``seg1`` turns an image into a state, each later segment a state into the next, the last one into
tokens; ``adapt-NAME`` turns the state at an exit into tokens like the last segment's; ``tail``
turns tokens into a descriptor. An exit's route is the segments up to it, its adapter and the tail;
the route "full" is all segments and the tail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import compose

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.graph.signature import load_part, name_nodes, tensor_ends
from edgevpr.errors import CorruptArtifactError

#: Name of the whole path's single graph among the graphs.
SINGLE = "model"


@dataclass(frozen=True)
class Cut:
    """Graphs by name, and for each exit the names that it runs in turn.

    The first graph of a route reads (1, H, W, 3) uint8, the last one gives (1, D) float32.
    """

    graphs: Mapping[str, onnx.ModelProto]
    #: earliest exit first, "full" last.
    routes: Mapping[str, tuple[str, ...]]

    @property
    def early(self) -> list[str]:
        """The exits without the whole path."""
        return [name for name in self.routes if name != FULL]

    def only(self, exits: Sequence[str]) -> "Cut":
        """The same with these exits alone, and the graphs that they run."""
        routes = {name: route for name, route in self.routes.items() if name in exits}
        used = {key for route in routes.values() for key in route}
        return Cut({key: graph for key, graph in self.graphs.items() if key in used}, routes)


def file_of(key: str) -> str:
    """The file of a graph in its bundle."""
    return f"{SINGLE}.onnx" if key == SINGLE else f"graphs/{key}.onnx"


def read_cut(folder: Path, exits: Sequence[str]) -> Cut:
    """The graphs that an export left in a folder, with a segment more than there are exits.

    Args:
        exits: names, earliest first; the first leaves after ``seg1``, the next after ``seg2``.

    Raises:
        CorruptArtifactError: a graph is missing, or one gives what the next does not take.
        NumericsError, TargetError: see ``load_part``.
    """
    segments = [f"seg{i + 1}" for i in range(len(exits) + 1)]
    adapters = [f"adapt-{name}" for name in exits]
    graphs = {key: load_part(folder / f"{key}.onnx") for key in [*segments, *adapters, "tail"]}
    routes = {name: (*segments[: i + 1], adapters[i], "tail") for i, name in enumerate(exits)} | {
        FULL: (*segments, "tail")
    }
    cut = Cut(graphs, routes)
    _check(cut)
    return cut


def whole_graphs(cut: Cut, single: onnx.ModelProto) -> Cut:
    """Each exit as one graph of its own, its route merged; the whole path is ``single``."""
    graphs: dict[str, onnx.ModelProto] = {}
    for name in cut.early:
        graphs[f"exit-{name}"] = _merged([cut.graphs[key] for key in cut.routes[name]])
    routes = {name: (f"exit-{name}",) for name in cut.early} | {FULL: (SINGLE,)}
    return Cut({**graphs, SINGLE: single}, routes)


def describe_routes(
    graphs: Mapping[str, onnx.ModelProto],
    routes: Mapping[str, tuple[str, ...]],
    images: NDArray[Any],
    *,
    as_written: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """What each route makes of (n, H, W, 3) images (or of states); what routes share runs once."""
    found = {name: images for name, route in routes.items() if not route}
    first = dict.fromkeys(route[0] for route in routes.values() if route)
    for key in first:
        states = describe(graphs[key], images, as_written=as_written)
        rest = {name: route[1:] for name, route in routes.items() if route[:1] == (key,)}
        found |= describe_routes(graphs, rest, states, as_written=as_written)
    return {name: found[name] for name in routes}


def _check(cut: Cut) -> None:
    """Raise where neighbours do not fit, or the ends are no image and no descriptor."""
    ends = {key: tensor_ends(graph) for key, graph in cut.graphs.items()}
    for route in cut.routes.values():
        given = ("uint8", (1, *ends[route[0]].input_shape[1:3], 3))
        for key in route:
            taken = (ends[key].input_type, ends[key].input_shape)
            if taken != given:
                raise CorruptArtifactError(
                    f"found graph {key}, which takes {taken[0]} {taken[1]}, expected {given[0]} "
                    f"{given[1]}, as what comes before it gives: run edgevpr compile MODEL again"
                )
            given = (ends[key].output_type, ends[key].output_shape)
        if given[0] != "float32" or len(given[1]) != 2:
            raise CorruptArtifactError(
                f"found graph {route[-1]}, which gives {given[0]} {given[1]}, expected a "
                "descriptor (1, D) float32: run edgevpr compile MODEL again"
            )


def _merged(parts: Sequence[onnx.ModelProto]) -> onnx.ModelProto:
    """The parts, one after the other, as one graph."""
    whole = compose.add_prefix(parts[0], "part0/")
    for i, part in enumerate(parts[1:], start=1):
        following = compose.add_prefix(part, f"part{i}/")
        joint = [(whole.graph.output[0].name, following.graph.input[0].name)]
        whole = compose.merge_models(whole, following, io_map=joint)
        versions = {entry.domain: entry.version for entry in whole.opset_import}
        del whole.opset_import[:]
        whole.opset_import.extend(onnx.helper.make_opsetid(d, v) for d, v in versions.items())
    ends = tensor_ends(whole)
    named = {ends.input: "images", ends.output: "descriptor"}
    for node in whole.graph.node:
        for names in (node.input, node.output):
            names[:] = [named.get(name, name) for name in names]
    whole.graph.input[0].name, whole.graph.output[0].name = "images", "descriptor"
    return name_nodes(whole)
