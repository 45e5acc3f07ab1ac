"""Exported graphs: accepted, or refused with the node or weight at fault."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevpr.compile.graph.signature import load_graph, node_counts, signature
from edgevpr.errors import CorruptArtifactError, NumericsError, TargetError


def tiny(path: Path, *, operator: str = "Relu", weight: float = 1.0, batch: int = 1) -> Path:
    """images -> Cast -> Mul by a weight -> ``operator`` -> mean over pixels -> (1, 3)."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["images"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "w"], ["y"], "scale"),
        helper.make_node(operator, ["y"], ["z"], "suspect"),
        helper.make_node("ReduceMean", ["z", "axes"], ["descriptor"], "mean", keepdims=0),
    ]
    weights = [
        numpy_helper.from_array(np.full(3, weight, np.float32), "w"),
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value("images", TensorProto.UINT8, [batch, 8, 8, 3])],
        [value("descriptor", TensorProto.FLOAT, [batch, 3])],
        weights,
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def test_the_export_is_accepted(exported: Path) -> None:
    model = load_graph(exported)
    ends = signature(model)
    assert (ends.input, ends.output) == ("images", "descriptor")
    assert ends.input_shape == (1, 128, 128, 3)
    assert ends.dim == 256
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names) == sum(node_counts(model).values())


def test_unnamed_nodes_get_names(tmp_path: Path) -> None:
    """Rules and messages refer to nodes by name."""
    assert all(node.name for node in load_graph(tiny(tmp_path / "a.onnx")).graph.node)


def test_a_nan_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NumericsError, match=r"3 NaN of 3 values in weight 'w'.* run edgevpr train"):
        load_graph(tiny(tmp_path / "a.onnx", weight=float("nan")))


def test_an_unknown_operator_is_named_with_its_node(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="operator Frobnicate in node 'suspect'"):
        load_graph(tiny(tmp_path / "a.onnx", operator="Frobnicate"))


def test_another_signature_is_refused(tmp_path: Path) -> None:
    """A batch dimension is refused."""
    with pytest.raises(CorruptArtifactError, match=r"takes uint8 \(2, 8, 8, 3\)"):
        load_graph(tiny(tmp_path / "a.onnx", batch=2))


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    """A truncated copy ends in one sentence of ours."""
    (tmp_path / "a.onnx").write_bytes(b"\x08\x01not onnx at all")
    with pytest.raises(CorruptArtifactError, match="run edgevpr compile MODEL again"):
        load_graph(tmp_path / "a.onnx")
    with pytest.raises(CorruptArtifactError, match="found no graph"):
        load_graph(tmp_path / "b.onnx")
