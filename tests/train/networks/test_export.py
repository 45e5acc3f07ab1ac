"""ONNX export against torch."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from edgevpr.train.networks.export import export_onnx  # noqa: E402


def test_export_matches_torch(trained: Path, tmp_path: Path) -> None:
    """The graph takes uint8 images and gives torch's descriptors."""
    import onnxruntime

    difference = export_onnx(trained / "query", tmp_path / "query.onnx")
    assert difference < 1e-5  # measured 2e-7
    session = onnxruntime.InferenceSession(str(tmp_path / "query.onnx"))
    (entry,) = session.get_inputs()
    assert (entry.name, entry.shape, entry.type) == ("images", [1, 64, 64, 3], "tensor(uint8)")
    assert session.get_outputs()[0].shape == [1, 128]
