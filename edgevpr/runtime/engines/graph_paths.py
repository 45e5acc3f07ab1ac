"""Ways through the graphs of a bundle: which buffer each reads and writes, and what is kept.

A bundle with early exits is a few graphs, each from one tensor to one tensor::

    images -> seg1 -> state -> seg2 -> ... -> tokens -> tail -> descriptor
                        `----> adapt-L4 ------^

Whatever a graph reads and all that is written for it are one buffer. A buffer holds what was last
written to it, by which way from the frame's image; a deeper exit begins behind the longest way of
its own that is still there. A bundle without exits is one way through one graph.
"""

import itertools
from dataclasses import dataclass

from edgevpr.artifacts.exit_contract import FULL, ONE_GRAPH
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord, GraphRecord
from edgevpr.errors import CorruptArtifactError

#: Buffers of the frame and of the answer.
IMAGES, DESCRIPTOR = 0, 1


@dataclass(frozen=True)
class Tensor:
    """Shape and numpy's name of the type of a buffer."""

    shape: tuple[int, ...]
    type: str


@dataclass(frozen=True)
class Step:
    """One graph on a way."""

    graph: GraphRecord
    #: buffers, as numbers in ``GraphPaths.buffers``.
    reads: int
    writes: int
    #: graph files from the frame's image to this one's output.
    way: tuple[str, ...]


@dataclass(frozen=True)
class GraphPaths:
    """Buffers, and the steps of every exit in the order they run."""

    #: ``IMAGES``, ``DESCRIPTOR``, then what passes from graph to graph.
    buffers: tuple[Tensor, ...]
    #: earliest exit first, "full" last.
    ways: dict[str, tuple[Step, ...]]

    @property
    def graphs(self) -> list[GraphRecord]:
        """Every graph once, in the order of the ways."""
        found = {step.graph.file: step.graph for way in self.ways.values() for step in way}
        return list(found.values())

    @classmethod
    def of(cls, bundle: Artifact, record: BundleRecord) -> "GraphPaths":
        """Those of a bundle, whose record keeps the contract (``artifacts.exit_contract``).

        Raises:
            CorruptArtifactError: its graphs run in a circle.
        """
        graphs = {graph.file: graph for graph in record.graphs}
        graphs[ONE_GRAPH] = _whole(record)
        files = {each.name: tuple(each.graphs) for each in record.exits} or {FULL: (ONE_GRAPH,)}
        return _laid_out(bundle, record, files, graphs)


class Kept:
    """What the buffers hold of the frame started last."""

    def __init__(self, paths: GraphPaths) -> None:
        self._held: list[tuple[str, ...]] = [()] * len(paths.buffers)

    def forget(self) -> None:
        """A new frame."""
        for number in range(len(self._held)):
            self._held[number] = ()

    def first(self, way: tuple[Step, ...]) -> int:
        """The first step of a way whose result is not there; their number where none is."""
        for number in range(len(way), 0, -1):
            step = way[number - 1]
            if self._held[step.writes] == step.way:
                return number
        return 0

    def ran(self, step: Step) -> None:
        """``step`` has written its buffer."""
        self._held[step.writes] = step.way


def _whole(record: BundleRecord) -> GraphRecord:
    """``model.onnx``, which the record describes by its own fields."""
    size = record.preprocess
    return GraphRecord(
        file=ONE_GRAPH,
        sha256=record.graph_sha256,
        precision=record.precision,
        input=record.input,
        output=record.output,
        input_shape=[1, size.height, size.width, 3],
        output_shape=[1, record.output_dim],
        input_type="uint8",
        output_type="float32",
    )


def _laid_out(
    bundle: Artifact,
    record: BundleRecord,
    files: dict[str, tuple[str, ...]],
    graphs: dict[str, GraphRecord],
) -> GraphPaths:
    """Joins what a graph writes with what the next one reads, over all ways, into buffers."""
    size = record.preprocess
    joined = _Joined()
    for way in files.values():
        joined.join("images", f"{way[0]} in")
        joined.join("descriptor", f"{way[-1]} out")
        for before, after in itertools.pairwise(way):
            joined.join(f"{before} out", f"{after} in")
    number = {joined.of("images"): IMAGES, joined.of("descriptor"): DESCRIPTOR}
    tensors = [
        Tensor((1, size.height, size.width, 3), "uint8"),
        Tensor((1, record.output_dim), "float32"),
    ]
    ends: dict[str, tuple[int, int]] = {}
    for file in dict.fromkeys(file for way in files.values() for file in way):
        graph = graphs[file]
        numbers = []
        for end, tensor in (
            ("in", Tensor(tuple(graph.input_shape), graph.input_type)),
            ("out", Tensor(tuple(graph.output_shape), graph.output_type)),
        ):
            root = joined.of(f"{file} {end}")
            if root not in number:
                number[root] = len(tensors)
                tensors.append(tensor)
            expected = tensors[number[root]]
            if tensor != expected:
                raise _corrupt(
                    bundle,
                    f"{file} with {tensor.shape} {tensor.type} {end}",
                    f"{expected.shape} {expected.type}, as what runs next to it",
                )
            numbers.append(number[root])
        reads, writes = numbers
        if reads in (writes, DESCRIPTOR) or writes == IMAGES:
            raise _corrupt(bundle, f"{file} in a circle of graphs", "one way from image to answer")
        ends[file] = reads, writes
    ways = {
        name: tuple(Step(graphs[file], *ends[file], way[: i + 1]) for i, file in enumerate(way))
        for name, way in files.items()
    }
    return GraphPaths(tuple(tensors), ways)


class _Joined:
    """Sets of ends that are joined one pair at a time."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def of(self, end: str) -> str:
        """What stands for the set of an end."""
        while (parent := self._parent.setdefault(end, end)) != end:
            end = parent
        return end

    def join(self, a: str, b: str) -> None:
        self._parent[self.of(b)] = self.of(a)


def _corrupt(bundle: Artifact, found: str, expected: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"found {bundle.path} with {found}, expected {expected}: run edgevpr compile MODEL again"
    )
