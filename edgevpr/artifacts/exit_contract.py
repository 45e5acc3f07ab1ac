"""Contract of a bundle with early exits: its graphs, the ways through them, their digests."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping

from edgevpr.artifacts.manifest import FileEntry
from edgevpr.artifacts.records import BundleExit, BundleRecord, GraphRecord

#: Name of the whole path, the last of a bundle's exits and none of a model's; and its graph where
#: that is a single one.
FULL, ONE_GRAPH = "full", "model.onnx"
#: Types that graphs hand on, and the most values of one tensor.
TYPES, MOST_VALUES = ("uint8", "float16", "float32"), 1 << 28


def graphs_digest(digests: Iterable[str]) -> str:
    """SHA-256 over the hex digests of graphs, in their order: ``graph_sha256`` of their bundle."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def contradictions(
    record: BundleRecord, files: Mapping[str, FileEntry]
) -> Iterator[tuple[str, str]]:
    """What is found and what was expected, where the record contradicts itself or the files."""
    if not record.exits:
        if record.graphs:
            yield "graphs without exits", "neither, or both"
        return
    names = [exit.name for exit in record.exits]
    if names[-1] != FULL or len(set(names)) < len(names) or not all(names):
        yield f"the exits {', '.join(names)}", f"each once, with a name, and {FULL} as the last"
        return
    graphs = {graph.file: graph for graph in record.graphs}
    if len(graphs) < len(record.graphs) or ONE_GRAPH in graphs:
        yield "the same graph twice", "each once"
        return
    for graph in record.graphs:
        yield from _graph(graph, files)
    for exit in record.exits:
        yield from _exit(exit, graphs, record)
    unused = graphs.keys() - {file for exit in record.exits for file in exit.graphs}
    if unused:
        yield f"the graph {min(unused)}, which no exit runs", "only graphs that some exit runs"
    whole = record.exits[-1].graphs == [ONE_GRAPH]
    if whole != (ONE_GRAPH in files):
        yield (
            f"{ONE_GRAPH} {'absent' if whole else 'present'}",
            (f"it {'present, as full runs it' if whole else 'absent, as full runs the graphs'}"),
        )
    digest = graphs_digest(graph.sha256 for graph in record.graphs)
    if not whole and record.graph_sha256 != digest:
        yield f"`graph_sha256` {record.graph_sha256[:12]}", f"{digest[:12]}, that of its graphs"
    if len(names) > 1 and "golden_exits.npy" not in files:
        yield "no golden_exits.npy", "the descriptors of the early exits"


def _graph(graph: GraphRecord, files: Mapping[str, FileEntry]) -> Iterator[tuple[str, str]]:
    if graph.file not in files:
        yield f"no {graph.file}", "every graph that bundle.json names"
    elif files[graph.file].sha256 != graph.sha256:
        yield (
            f"{graph.file} with the SHA-256 {files[graph.file].sha256[:12]}",
            f"{graph.sha256[:12]}, which bundle.json says",
        )
    for shape in (graph.input_shape, graph.output_shape):
        if not shape or min(shape) < 1 or math.prod(shape) > MOST_VALUES or shape[0] != 1:
            yield f"a tensor {shape} of {graph.file}", f"(1, ...) of at most {MOST_VALUES} values"
    for kind in (graph.input_type, graph.output_type):
        if kind not in TYPES:
            yield f"a tensor of {kind} of {graph.file}", f"one of {', '.join(TYPES)}"


def _exit(
    exit: BundleExit, graphs: Mapping[str, GraphRecord], record: BundleRecord
) -> Iterator[tuple[str, str]]:
    if exit.name == FULL and exit.graphs == [ONE_GRAPH]:
        return
    unknown = [file for file in exit.graphs if file not in graphs]
    if unknown or not exit.graphs:
        yield f"{unknown or 'no graph'} at exit {exit.name}", "graphs of this bundle"
        return
    size = record.preprocess
    given: tuple[str, list[int]] = ("uint8", [1, size.height, size.width, 3])
    for file in exit.graphs:
        graph = graphs[file]
        if (graph.input_type, graph.input_shape) != given:
            yield (
                f"{file}, which reads {graph.input_type} {graph.input_shape}, at exit {exit.name}",
                f"{given[0]} {given[1]}, which it is given",
            )
        given = (graph.output_type, graph.output_shape)
    if given != ("float32", [1, record.output_dim]):
        yield f"{given[0]} {given[1]} from exit {exit.name}", f"float32 [1, {record.output_dim}]"
