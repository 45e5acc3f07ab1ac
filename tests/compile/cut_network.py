"""A small network that is cut at two exits, written as ONNX graphs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.records import ExitRecord
from edgevpr.compile.exits.cut import Cut, read_cut, whole_graphs

PIXELS, TOKENS, WIDTH, DESCRIPTOR = 64, 64, 64, 48
EXITS = (
    ExitRecord("1.0", "composition", "mlp", 0.004, 0.4),
    ExitRecord("2.0", "regression", "mlp", 0.008, 0.8),
)
STATES = {"": (1, PIXELS, PIXELS, 3), "1.0": (1, 32, 16, 16), "2.0": (1, 64, 8, 8)}
_FLAT = (1, TOKENS, WIDTH)


class Graph:
    """One graph as it grows; each call appends a node and returns its output."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.nodes, self.weights = name, list[Any](), list[Any]()
        self.rng = np.random.default_rng(seed)

    def node(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], f"n_{out}", **attributes))
        return out

    def weight(self, values: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def random(self, *shape: int) -> str:
        fan = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
        return self.weight((self.rng.standard_normal(shape) / np.sqrt(fan / 2)).astype(np.float32))

    def conv(self, x: str, into: int, out: int, *, stride: int = 1, size: int = 3) -> str:
        pads = [size // 2] * 4
        y = self.node(
            "Conv", x, self.random(out, into, size, size), pads=pads, strides=[stride] * 2
        )
        return self.node("Relu", y)

    def tokens(self, x: str) -> str:
        flat = self.node("Reshape", x, self.weight(np.array([1, WIDTH, TOKENS])))
        return self.node("Transpose", flat, perm=[0, 2, 1])

    def done(self, x: str, ends: tuple[str, str], shapes: tuple[Any, Any]) -> onnx.ModelProto:
        self.nodes[-1].output[0] = ends[1]
        assert x
        kinds = [TensorProto.UINT8 if ends[0] == "images" else TensorProto.FLOAT, TensorProto.FLOAT]
        values = [
            helper.make_tensor_value_info(end, kind, shape)
            for end, kind, shape in zip(ends, kinds, shapes, strict=True)
        ]
        graph = helper.make_graph(self.nodes, self.name, values[:1], values[1:], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        return model


def parts() -> dict[str, onnx.ModelProto]:
    """seg1 to seg3, an adapter for each exit, and the tail."""
    found = {}
    g = Graph("seg1", 1)
    x = g.node("Transpose", "images", perm=[0, 3, 1, 2])
    x = g.node("Cast", x, to=TensorProto.FLOAT)
    x = g.node("Mul", x, g.weight(np.float32(1 / 64)))
    x = g.node("Sub", x, g.weight(np.float32(2)))
    x = g.conv(g.conv(x, 3, 16, stride=2), 16, 32, stride=2)
    found["seg1"] = g.done(x, ("images", "state"), (STATES[""], STATES["1.0"]))
    g = Graph("seg2", 2)
    x = g.conv("state", 32, 64, stride=2)
    found["seg2"] = g.done(x, ("state", "state_out"), (STATES["1.0"], STATES["2.0"]))
    g = Graph("seg3", 3)
    x = g.tokens(g.conv(g.conv("state", 64, 64), 64, 64))
    found["seg3"] = g.done(x, ("state", "tokens"), (STATES["2.0"], _FLAT))
    g = Graph("adapt1", 4)
    x = g.node("AveragePool", "state", kernel_shape=[2, 2], strides=[2, 2])
    x = g.tokens(g.conv(x, 32, 64, size=1))
    x = g.node("MatMul", x, g.random(WIDTH, 32))
    x = g.node("MatMul", g.node("Softmax", x, axis=-1), g.random(32, WIDTH))
    found["adapt-1.0"] = g.done(x, ("state", "tokens"), (STATES["1.0"], _FLAT))
    g = Graph("adapt2", 5)
    x = g.node("MatMul", g.tokens(g.conv("state", 64, 64, size=1)), g.random(WIDTH, WIDTH))
    found["adapt-2.0"] = g.done(x, ("state", "tokens"), (STATES["2.0"], _FLAT))
    g = Graph("tail", 6)
    x = g.node("Tanh", g.node("MatMul", "tokens", g.random(WIDTH, DESCRIPTOR)))
    x = g.node("ReduceMean", x, g.weight(np.array([1])), keepdims=0)
    length = g.node("ReduceL2", x, g.weight(np.array([1])), keepdims=1)
    x = g.node("Div", x, length)
    found["tail"] = g.done(x, ("tokens", "descriptor"), (_FLAT, (1, DESCRIPTOR)))
    return found


def write_parts(folder: Path) -> Path:
    """What an export leaves: the parts, and the whole network in model.onnx."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in parts().items():
        onnx.save(graph, str(folder / f"{name}.onnx"))
    cut = read_cut(folder, [exit.name for exit in EXITS])
    routes = {"whole": cut.routes[FULL], FULL: cut.routes[FULL]}
    whole = whole_graphs(Cut(cut.graphs, routes), cut.graphs["tail"])
    onnx.save(whole.graphs["exit-whole"], str(folder / "model.onnx"))
    return folder
