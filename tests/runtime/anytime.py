"""Bundles with early exits for the small world: the network of ``build``, cut into three segments.

The colours of the quarters pass through two segments that change and restore them; the exits L4 and
L8 leave after the first and the second, L4 the less faithfully. All weights of the exits are fixed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevpr.artifacts.folder import write_artifact
from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.artifacts.records import BundleExit, BundleRecord, GraphRecord

from .build import DIM, PREPROCESS, SIDE, SPACE, write_graph

EXITS = ("L4", "L8", "full")
#: file -> names of its input and output.
ENDS = {
    "graphs/seg1.onnx": ("images", "state"),
    "graphs/seg2.onnx": ("state", "state_out"),
    "graphs/seg3.onnx": ("state", "tokens"),
    "graphs/adapt-L4.onnx": ("state", "tokens"),
    "graphs/adapt-L8.onnx": ("state", "tokens"),
    "graphs/tail.onnx": ("tokens", "descriptor"),
}
WAYS = {
    "L4": ["graphs/seg1.onnx", "graphs/adapt-L4.onnx", "graphs/tail.onnx"],
    "L8": ["graphs/seg1.onnx", "graphs/seg2.onnx", "graphs/adapt-L8.onnx", "graphs/tail.onnx"],
    "full": [
        "graphs/seg1.onnx",
        "graphs/seg2.onnx",
        "graphs/seg3.onnx",
        "graphs/tail.onnx",
    ],
}
SHARES = {"L4": 0.41, "L8": 0.72, "full": 1.0}
#: noise on the colours of an exit, of 255.
NOISE = {"L4": 2.0, "L8": 0.2}

Shape = tuple[int, ...]


def tensors(file: str) -> tuple[tuple[str, Shape, str], tuple[str, Shape, str]]:
    """Name, shape and type of a graph's input and output."""
    known: dict[str, tuple[Shape, str]] = {
        "images": ((1, SIDE, SIDE, 3), "uint8"),
        "state": ((1, 12), "float32"),
        "state_out": ((1, 12), "float32"),
        "tokens": ((1, 4, 3), "float32"),
        "descriptor": ((1, DIM), "float32"),
    }
    given, made = ENDS[file]
    return (given, *known[given]), (made, *known[made])


def write_part(path: Path, file: str) -> None:
    """One graph of the network, by its name in the bundle."""
    (given, shape_in, type_in), (made, shape_out, type_out) = tensors(file)
    quarter = SIDE // 2
    constants: dict[str, np.ndarray] = {}
    part = Path(file).stem
    if part == "seg1":
        constants = {
            "shape": np.array([1, 2, quarter, 2, quarter, 3], np.int64),
            "flat": np.array([1, 12], np.int64),
            "grey": np.array(127.5, np.float32),
        }
        nodes = [
            helper.make_node("Cast", [given], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["float", "grey"], ["centred"]),
            helper.make_node("Reshape", ["centred", "shape"], ["blocks"]),
            helper.make_node("ReduceMean", ["blocks"], ["pooled"], axes=[2, 4], keepdims=0),
            helper.make_node("Reshape", ["pooled", "flat"], [made]),
        ]
    elif part == "seg2":
        constants = {"two": np.array(2.0, np.float32)}
        nodes = [helper.make_node("Mul", [given, "two"], [made])]
    elif part == "tail":
        constants = {
            "flat": np.array([1, 12], np.int64),
            "weight": np.random.default_rng(7).normal(size=(12, DIM)).astype(np.float32),
        }
        nodes = [
            helper.make_node("Reshape", [given, "flat"], ["colours"]),
            helper.make_node("MatMul", ["colours", "weight"], ["wide"]),
            helper.make_node("LpNormalization", ["wide"], [made], axis=1, p=2),
        ]
    else:
        noise = np.zeros((1, 12))
        if part.startswith("adapt"):
            name = part.removeprefix("adapt-")
            noise = np.random.default_rng(9).normal(size=(1, 12)) * NOISE[name]
        scale = 1.0 if part == "adapt-L4" else 0.5
        constants = {
            "scale": np.array(scale, np.float32),
            "noise": noise.astype(np.float32),
            "shape": np.array([1, 4, 3], np.int64),
        }
        nodes = [
            helper.make_node("Mul", [given, "scale"], ["restored"]),
            helper.make_node("Add", ["restored", "noise"], ["noisy"]),
            helper.make_node("Reshape", ["noisy", "shape"], [made]),
        ]
    types = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    graph = helper.make_graph(
        nodes,
        part,
        [helper.make_tensor_value_info(given, types[type_in], shape_in)],
        [helper.make_tensor_value_info(made, types[type_out], shape_out)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_anytime_bundle(
    path: Path,
    *,
    exits: Sequence[str] = EXITS,
    whole: bool = False,
    ms: dict[str, tuple[float, float]] | None = None,
    runtime: str = "onnxruntime",
    space: str = SPACE,
    change: Callable[[BundleRecord], BundleRecord] = lambda record: record,
    extra: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """A bundle artifact with early exits.

    Args:
        whole: "full" runs ``model.onnx``, the single graph, and not the segments.
        ms: measured median and 95th percentile of some exits.
        change: makes the record that is written.
    """
    with write_artifact(path, "bundle", space=space) as folder:
        (folder / "graphs").mkdir()
        ways = {name: WAYS[name] for name in exits}
        if whole:
            ways["full"] = ["model.onnx"]
            write_graph(folder / "model.onnx")
        files = sorted({file for way in ways.values() for file in way} - {"model.onnx"})
        graphs = []
        for file in files:
            write_part(folder / file, file)
            (given, shape_in, type_in), (made, shape_out, type_out) = tensors(file)
            graphs.append(
                GraphRecord(
                    file=file,
                    sha256=sha256_file(folder / file),
                    precision="fp32",
                    input=given,
                    output=made,
                    input_shape=list(shape_in),
                    output_shape=list(shape_out),
                    input_type=type_in,
                    output_type=type_out,
                )
            )
        record = BundleRecord(
            target="cpu",
            runtime=runtime,
            precision="fp32",
            preprocess=PREPROCESS,
            input="images",
            output="descriptor",
            dim=DIM,
            output_dim=DIM,
            projection="",
            model_digest="m",
            graph_sha256=digest(folder, graphs),
            engines=[],
            evidence={},
            exits=[
                BundleExit(
                    name=name,
                    graphs=way,
                    share=SHARES[name],
                    min_cosine=1.0,
                    mean_cosine=1.0,
                    max_abs_error=0.0,
                    ms_p50=(ms or {}).get(name, (None, None))[0],
                    ms_p95=(ms or {}).get(name, (None, None))[1],
                )
                for name, way in ways.items()
            ],
            graphs=graphs,
        )
        early = len(ways) - 1
        np.save(folder / "golden_exits.npy", np.zeros((early, 1, DIM), np.float32))
        extra(folder)
        write_json(folder / "bundle.json", change(record))
    return path


def digest(folder: Path, graphs: list[GraphRecord]) -> str:
    """``graph_sha256``: of the whole graph where there is one, else of all graphs' digests."""
    import hashlib

    if (folder / "model.onnx").exists():
        return sha256_file(folder / "model.onnx")
    return hashlib.sha256("".join(graph.sha256 for graph in graphs).encode()).hexdigest()
