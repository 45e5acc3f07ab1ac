"""Real TensorRT-RTX builds, without a GPU."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgevpr.compile.engine.builder import Order, build_engine, load_tensorrt
from edgevpr.errors import TargetError

pytest.importorskip("tensorrt_rtx", reason="needs pip install 'edgevpr[rtx]'")


def graph(path: Path, operator: str = "Relu", **attributes: object) -> Path:
    """images -> Cast -> one operator -> mean over pixels."""
    value, make = helper.make_tensor_value_info, helper.make_node
    nodes = [
        make("Cast", ["images"], ["x"], "cast", to=TensorProto.FLOAT),
        make(operator, ["x"], ["y"], "suspect", **attributes),
        make("ReduceMean", ["y", "axes"], ["descriptor"], "mean", keepdims=0),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [value("images", TensorProto.UINT8, [1, 8, 8, 3])],
        [value("descriptor", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(made, opset_imports=opset, ir_version=9), str(path))
    return path


def test_an_engine_is_built_and_its_steps_are_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The bar reaches its end; nothing appears on stdout."""
    seen: list[tuple[str, int | None, int]] = []

    def track(items: Iterable[object], description: str, total: int | None = None) -> Iterator:
        count = 0
        for item in items:
            count += 1
            yield item
        seen.append((description, total, count))

    order = Order(graph(tmp_path / "a.onnx"), "fp32", 89)
    engine = build_engine("tensorrt-rtx", order, description="building", track=track)
    assert len(engine.data) > 1000
    assert engine.version == load_tensorrt("tensorrt-rtx").__version__
    assert engine.flags == ["STRONGLY_TYPED"]
    ((description, total, count),) = seen
    assert description == "building"
    assert total == count
    assert total > 1
    assert capfd.readouterr().out == ""


def test_an_operator_it_cannot_build_is_named(tmp_path: Path) -> None:
    order = Order(graph(tmp_path / "a.onnx", "Det"), "fp32", 89)
    with pytest.raises(TargetError, match=r"operator Det of node 'suspect'"):
        build_engine("tensorrt-rtx", order)


def test_a_capability_it_does_not_know(tmp_path: Path) -> None:
    """Jetson's sm_87 is refused with the list of those it has."""
    with pytest.raises(TargetError, match=r"found sm_87, .*expected one of .*SM89"):
        build_engine("tensorrt-rtx", Order(graph(tmp_path / "a.onnx"), "fp32", 87))


def test_an_interrupted_build_stops(tmp_path: Path) -> None:
    """Ctrl-C while the bar is drawn ends the build's own thread too."""
    import threading

    def interrupted(items: Iterable[object], *_: object) -> Iterator:
        for item in items:
            yield item
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(
            "tensorrt-rtx", Order(graph(tmp_path / "a.onnx"), "fp32", 89), track=interrupted
        )
    assert not [t for t in threading.enumerate() if t.name == "tensorrt-build"]
    os.write(1, b"")  # descriptor 1 is back


def test_checked_bytes_are_built_whatever_stands_at_the_path(tmp_path: Path) -> None:
    """The file holds an operator that cannot be built; the bytes given hold another graph."""
    good = graph(tmp_path / "good.onnx").read_bytes()
    path = graph(tmp_path / "a.onnx", "Det")
    assert len(build_engine("tensorrt-rtx", Order(path, "fp32", 89, data=good)).data) > 1000
    path.unlink()
    assert len(build_engine("tensorrt-rtx", Order(path, "fp32", 89, data=good)).data) > 1000


def test_tensorrt_itself_is_not_here() -> None:
    pytest.importorskip("tensorrt_rtx")
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(TargetError, match=r"found no TensorRT .* on the device itself"):
            load_tensorrt("tensorrt")
    else:
        pytest.skip("TensorRT is installed here")
