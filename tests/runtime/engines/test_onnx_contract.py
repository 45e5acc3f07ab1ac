"""Contract of ONNX graphs, on graphs that onnx itself wrote."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgevpr.errors import CorruptArtifactError
from edgevpr.runtime.engines.onnx_contract import MOST_NODES, GraphEnds, check_graph

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402  # skipped without it

WHERE = Path("model.onnx")
UINT8, FLOAT = TensorProto.UINT8, TensorProto.FLOAT


def graph_of(
    nodes: list[onnx.NodeProto] | None = None,
    *,
    inputs: tuple[tuple[str, int, list[int | str]], ...] = (("images", UINT8, [1, 8, 6, 3]),),
    outputs: tuple[tuple[str, int, list[int]], ...] = (("descriptor", FLOAT, [1, 4]),),
) -> onnx.GraphProto:
    return helper.make_graph(
        nodes or [helper.make_node("Identity", ["images"], ["descriptor"])],
        "g",
        [helper.make_tensor_value_info(*end) for end in inputs],
        [helper.make_tensor_value_info(*end) for end in outputs],
        [helper.make_tensor("w", FLOAT, [2], [0.0, 1.0])],
    )


def saved(graph: onnx.GraphProto) -> bytes:
    return helper.make_model(graph).SerializeToString()


def test_ends_of_a_graph() -> None:
    """An input that only names a stored tensor does not count."""
    inputs = (("images", UINT8, [1, 8, 6, 3]), ("w", FLOAT, [2]))
    ends = GraphEnds("images", "descriptor", (1, 8, 6, 3), (1, 4))
    assert check_graph(saved(graph_of(inputs=inputs)), WHERE) == ends


def looped() -> bytes:
    body = helper.make_graph([], "body", [], [])
    return saved(graph_of([helper.make_node("Loop", ["n", "c"], ["descriptor"], body=body)]))


def hidden_body() -> bytes:
    """A graph inside a node of another name."""
    body = helper.make_graph([], "body", [], [])
    return saved(graph_of([helper.make_node("Relu", ["n"], ["descriptor"], body=body)]))


def outside() -> bytes:
    graph = graph_of()
    graph.initializer[0].data_location = TensorProto.EXTERNAL
    entry = graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return saved(graph)


def with_function() -> bytes:
    function = helper.make_function("f", "F", [], [], [], [helper.make_opsetid("", 17)])
    return helper.make_model(graph_of(), functions=[function]).SerializeToString()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: b"", "no ONNX model"),
        (lambda: b"no graph", "no ONNX model"),
        (lambda: saved(graph_of())[:-9], "cut short"),
        (looped, "a graph inside a node"),
        (hidden_body, "a graph inside a node"),
        (outside, "outside the file"),
        (with_function, "functions"),
        (lambda: saved(graph_of([helper.make_node("F", ["a"], ["b"], domain="mine")])), "'mine'"),
        (lambda: saved(graph_of(inputs=())), "0 inputs"),
        (lambda: saved(graph_of(inputs=(("i", FLOAT, [1, 8, 6, 3]),))), "of float32"),
        (lambda: saved(graph_of(inputs=(("i", UINT8, [1, "h", 6, 3]),))), "input"),
        (lambda: saved(graph_of(inputs=(("i", UINT8, [1, 1 << 20, 1 << 20, 3]),))), "input"),
        (lambda: saved(graph_of(outputs=(("o", FLOAT, [2, 4]),))), "output"),
    ],
)
def test_graphs_that_break_it(make: Callable[[], bytes], says: str) -> None:
    with pytest.raises(CorruptArtifactError, match=says):
        check_graph(make(), WHERE)


def test_too_many_nodes() -> None:
    node = helper.make_node("Identity", ["a"], ["a"])
    with pytest.raises(CorruptArtifactError, match="more than"):
        check_graph(saved(graph_of([node] * (MOST_NODES + 1))), WHERE)
