"""Graphs of a cut network: they fit together, and a route gives what they give in turn."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.compile.exits.cut import describe_routes, read_cut, whole_graphs
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.errors import CorruptArtifactError


def test_a_route_is_its_graphs_in_turn(cut_folder: Path, cut_images: CalibrationImages) -> None:
    """A shared prefix that ran for another exit's images, or an order lost, would show."""
    cut = read_cut(cut_folder, ["1.0", "2.0"])
    assert cut.routes == {
        "1.0": ("seg1", "adapt-1.0", "tail"),
        "2.0": ("seg1", "seg2", "adapt-2.0", "tail"),
        FULL: ("seg1", "seg2", "seg3", "tail"),
    }
    images = cut_images.held_out[:3]
    found = describe_routes(cut.graphs, cut.routes, images)
    for name, route in cut.routes.items():
        expected = images
        for key in route:
            expected = describe(cut.graphs[key], expected)
        np.testing.assert_array_equal(found[name], expected)
    assert abs(found["1.0"] - found["2.0"]).max() > 0.01


def test_an_exit_of_its_own_gives_the_same(cut_folder: Path, cut_images: CalibrationImages) -> None:
    """Merging must not mix up tensors that have the same name in two graphs."""
    cut = read_cut(cut_folder, ["1.0", "2.0"])
    single = onnx.load(str(cut_folder / "model.onnx"))
    whole = whole_graphs(cut, single)
    onnx.checker.check_model(whole.graphs["exit-2.0"], full_check=True)
    images = cut_images.held_out[:3]
    expected = describe_routes(cut.graphs, cut.routes, images)
    for name, found in describe_routes(whole.graphs, whole.routes, images).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "by", "says"),
    [
        ("adapt-1.0", "adapt-2.0", r"adapt-1\.0, which takes float32 \(1, 64, 8, 8\), expected"),
        ("tail", "adapt-2.0", r"tail, which takes .*expected float32 \(1, 64, 64\)"),
        ("seg3", "seg2", r"seg3, which takes"),
    ],
)
def test_graphs_that_do_not_fit_are_refused(
    cut_folder: Path, tmp_path: Path, wrong: str, by: str, says: str
) -> None:
    """Named before minutes are spent, instead of a shape error of ONNX Runtime's."""
    folder = Path(shutil.copytree(cut_folder, tmp_path / "cut"))
    shutil.copyfile(folder / f"{by}.onnx", folder / f"{wrong}.onnx")
    with pytest.raises(CorruptArtifactError, match=says):
        read_cut(folder, ["1.0", "2.0"])
    (folder / "seg2.onnx").unlink()
    with pytest.raises(CorruptArtifactError, match=r"found no graph at .*seg2\.onnx"):
        read_cut(folder, ["1.0", "2.0"])
