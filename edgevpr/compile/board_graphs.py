"""Graphs of a bundle that boards build from, and the recipe with the releases each is for.

A bundle carries its network in safer precisions too: a board has no tools to take INT8 or FP16
back out of a graph, and an engine may fail its parity gate there. Weights that graphs share are
kept once, in ``weights.bin``, as ONNX external data: TensorRT's parser and trtexec read it from the
folder that the graph is in.
"""

import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper

from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.compile.engine.recipe import RECIPE, Graph, PrecisionGraphs, Recipe, make_recipe
from edgevpr.compile.graph.opset17 import to_opset_17
from edgevpr.compile.precision.typed import TypedGraph
from edgevpr.device.targets import Target

WEIGHTS = "weights.bin"
#: Tensors from this size on go to the shared file, each at a multiple of the alignment.
LARGE, ALIGNMENT = 1024, 64


def write_recipe(
    folder: Path,
    target: Target,
    precision: str,
    networks: dict[str, TypedGraph],
    digest: str,
    *,
    int8_cosine: float | None = None,
) -> Recipe:
    """Write the graphs beside ``model.onnx`` and ``recipe.json``.

    Args:
        networks: precision -> network; the bundle's own first (its typed graph is ``model.onnx``),
            then safer ones.
        digest: SHA-256 of ``model.onnx``.
        int8_cosine: see ``make_recipe``.
    """
    files: dict[str, onnx.ModelProto] = {}
    chosen: dict[str, dict[str, str]] = {}
    for name, network in networks.items():
        lower = to_opset_17(network.flags_graph)
        graphs = {}
        if lower is not None:
            # Without Q/DQ it is the FP32 network, whatever flags make of it.
            graphs["flags"] = "model-int8-flags.onnx" if name == "int8" else "model-fp32.onnx"
            files[graphs["flags"]] = lower
        graphs["typed"] = "model.onnx" if name == precision else f"model-{name}.onnx"
        if name != precision and graphs["typed"] not in files:
            files[graphs["typed"]] = network.graph
        chosen[name] = graphs
    save_sharing(folder, files)
    hashes = {"model.onnx": digest, **{f: sha256_file(folder / f) for f in files}}
    sources = {
        name: PrecisionGraphs(
            {kind: Graph(file, hashes[file]) for kind, file in graphs.items()},
            list(networks[name].fp32_nodes),
        )
        for name, graphs in chosen.items()
    }
    recipe = make_recipe(target, precision, sources, int8_cosine=int8_cosine)
    write_json(folder / RECIPE, recipe)
    return recipe


def save_sharing(folder: Path, graphs: dict[str, onnx.ModelProto]) -> None:
    """Save graphs whose large weights lie in one file, each content once."""
    offsets: dict[str, int] = {}
    with (folder / WEIGHTS).open("wb") as shared:
        for name, graph in graphs.items():
            copy = onnx.ModelProto()
            copy.CopyFrom(graph)
            for tensor in copy.graph.initializer:
                data = numpy_helper.to_array(tensor).tobytes()
                if len(data) < LARGE:
                    continue
                digest = hashlib.sha256(data).hexdigest()
                if digest not in offsets:
                    shared.write(bytes(-shared.tell() % ALIGNMENT))
                    offsets[digest] = shared.tell()
                    shared.write(data)
                _point_to(tensor, offsets[digest], len(data))
            onnx.save(copy, str(folder / name))
    if not offsets:
        (folder / WEIGHTS).unlink()


def _point_to(tensor: TensorProto, offset: int, length: int) -> None:
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
