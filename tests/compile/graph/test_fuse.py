"""Fusing and cleaning change nodes, not descriptors."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgevpr.compile.graph.fuse import cast_first, clean_up, fuse_projection
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.graph.signature import load_graph, node_counts, signature
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.compile.precision.structure import GraphIndex
from edgevpr.errors import SpaceMismatchError
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.projection import Projection


def test_a_fused_projection_is_the_numpy_one(
    exported: Path, projection: Projection, images: CalibrationImages
) -> None:
    """The fused graph gives normalize(matrix @ (x - mean))."""
    model = load_graph(exported)
    fused = fuse_projection(model, projection)
    assert signature(fused).dim == projection.shape[0]
    expected = projection.apply(describe(model, images.held_out))
    assert np.abs(describe(fused, images.held_out) - expected).max() < 1e-5  # measured: 1e-7


def test_the_original_graph_is_left_alone(exported: Path, projection: Projection) -> None:
    """The exported graph is still the reference after fusing."""
    model = load_graph(exported)
    before = model.SerializeToString(deterministic=True)
    fuse_projection(model, projection)
    assert model.SerializeToString(deterministic=True) == before


def test_a_projection_of_another_width(exported: Path) -> None:
    """A gallery of another network must be refused before anything is built."""
    other = Projection(np.zeros(100, np.float32), np.eye(10, 100, dtype=np.float32))
    with pytest.raises(SpaceMismatchError, match="width 100, expected 256"):
        fuse_projection(load_graph(exported), other)


def test_cleaning_keeps_the_descriptors(
    exported: Path, clean: onnx.ModelProto, projection: Projection, images: CalibrationImages
) -> None:
    """Fewer nodes, the same descriptors; learned queries' self-attention (a softmax) folds away."""
    model = load_graph(exported)
    assert len(clean.graph.node) < len(model.graph.node)
    softmaxes = [sum(n.op_type == "Softmax" for n in m.graph.node) for m in (model, clean)]
    assert softmaxes[1] < softmaxes[0]
    expected = projection.apply(describe(model, images.held_out))
    assert np.abs(describe(clean, images.held_out) - expected).max() < 1e-5


def test_boqs_own_queries_become_constants(tmp_path: Path) -> None:
    """Learned queries attend to each other before they see an image: no node of that is left.

    Of every block two softmaxes stay, the encoder's and that of the queries over the image; and
    BatchNorm is in the convolutions, nothing resizes.
    """
    import torch

    from edgevpr.train.networks.architecture import Architecture
    from edgevpr.train.networks.export import export_onnx
    from edgevpr.train.networks.model import save_model
    from edgevpr.train.networks.network import Network

    torch.manual_seed(0)
    arguments = {"proj_channels": 64, "num_queries": 4, "num_layers": 2, "row_dim": 2}
    network = Network(Architecture("mobilenetv3_small_050", out_index=3, aggregator_args=arguments))
    model = tmp_path / "model"
    save_model(
        model, network, role="gallery", preprocess=Preprocess(64, 64), training={}, config={}
    )
    export_onnx(model, tmp_path / "model.onnx")
    exported = load_graph(tmp_path / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    cleaned = clean_up(exported, images[:1])
    before, after = node_counts(exported), node_counts(cleaned)
    assert before["Softmax"] > after["Softmax"] == 2 * 2
    assert "BatchNormalization" not in after
    assert "Resize" not in after
    index = GraphIndex(cleaned)
    idle = [node.name for node in index.nodes if not index.data_inputs(node)]
    assert idle == []
    np.testing.assert_allclose(describe(cleaned, images), describe(exported, images), atol=1e-5)


def test_cleaning_that_changes_the_answer_is_dropped(
    exported: Path, images: CalibrationImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simplifier that changes descriptors is not used."""
    model = load_graph(exported)

    def broken(graph: onnx.ModelProto) -> onnx.ModelProto:
        scale = next(t for t in graph.graph.initializer if len(t.dims) == 4)
        values = onnx.numpy_helper.to_array(scale) * 1.5
        scale.CopyFrom(onnx.numpy_helper.from_array(values, scale.name))
        return graph

    monkeypatch.setattr("onnxslim.slim", broken)
    kept = clean_up(model, images.held_out[:2])
    assert len(kept.graph.node) == len(model.graph.node)
    difference = describe(kept, images.held_out) - describe(model, images.held_out)
    assert np.abs(difference).max() < 1e-5


def test_the_cast_comes_first(exported: Path, images: CalibrationImages) -> None:
    """TensorRT refuses to transpose uint8: 'must have type Float, Half, ...'."""
    model = load_graph(exported)
    assert next(n for n in model.graph.node if "images" in n.input).op_type == "Transpose"
    swapped = cast_first(model)
    onnx.checker.check_model(swapped, full_check=True)
    assert next(n for n in swapped.graph.node if "images" in n.input).op_type == "Cast"
    found, expected = (describe(m, images.held_out[:2]) for m in (swapped, model))
    assert np.abs(found - expected).max() < 1e-6
    assert cast_first(swapped) is swapped
