"""Graphs of a bundle that boards build from, and the recipe with the releases each is for.

A bundle carries its network in safer precisions too: a board has no tools to take INT8 or FP16
back out of a graph, and an engine may fail its parity gate there. Weights that graphs share are
kept once, in ``weights.bin``, as ONNX external data: TensorRT's parser and trtexec read it from the
folder that the graph is in.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper

from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.compile.engine.recipe import (
    RECIPE,
    Graph,
    PartGraphs,
    PrecisionGraphs,
    Recipe,
    make_exit_recipe,
    make_recipe,
)
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
    own = {"model.onnx": {name: (name, network) for name, network in networks.items()}}
    parts = _write_graphs(folder, own, {"model.onnx": (precision, digest)})
    sources = {name: files["model.onnx"].graphs for name, files in parts.items()}
    recipe = make_recipe(target, precision, sources, int8_cosine=int8_cosine)
    write_json(folder / RECIPE, recipe)
    return recipe


def write_exit_recipe(
    folder: Path,
    target: Target,
    precision: str,
    networks: Mapping[str, Mapping[str, tuple[str, TypedGraph]]],
    own: Mapping[str, tuple[str, str]],
    cosines: dict[str, float],
    *,
    half: bool,
) -> Recipe:
    """Write safer graphs beside those of a network with early exits, and ``recipe.json``.

    Args:
        networks: file -> step of the recipe -> precision and network of that file in that step.
        own: file, which is there -> the precision it has there, and its SHA-256.
        cosines, half: see ``make_exit_recipe``.
    """
    parts = _write_graphs(folder, networks, own)
    recipe = make_exit_recipe(target, precision, parts, cosines, half=half)
    write_json(folder / RECIPE, recipe)
    return recipe


def _write_graphs(
    folder: Path,
    networks: Mapping[str, Mapping[str, tuple[str, TypedGraph]]],
    own: Mapping[str, tuple[str, str]],
) -> dict[str, dict[str, PartGraphs]]:
    """Write all graphs but those in ``own``; step -> file -> the graphs it is built from."""
    chosen: dict[tuple[str, str], tuple[str, dict[str, str], TypedGraph]] = {}
    written: dict[str, onnx.ModelProto] = {}
    for file, steps in networks.items():
        stem = file.removesuffix(".onnx")
        for step, (precision, network) in steps.items():
            graphs = {}
            lower = to_opset_17(network.flags_graph)
            if lower is not None:
                # Without Q/DQ it is the FP32 network, whatever flags make of it.
                end = "int8-flags" if precision == "int8" else "fp32"
                graphs["flags"] = f"{stem}-{end}.onnx"
                written[graphs["flags"]] = lower
            graphs["typed"] = file if precision == own[file][0] else f"{stem}-{precision}.onnx"
            if graphs["typed"] != file and graphs["typed"] not in written:
                written[graphs["typed"]] = network.graph
            chosen[step, file] = (precision, graphs, network)
    for parent in {Path(file).parent for file in written}:
        inside = {Path(f).name: g for f, g in written.items() if Path(f).parent == parent}
        save_sharing(folder / parent, inside)
    hashes = {file: digest for file, (_, digest) in own.items()}
    hashes |= {file: sha256_file(folder / file) for file in written}
    found: dict[str, dict[str, PartGraphs]] = {}
    for (step, file), (precision, graphs, network) in chosen.items():
        by_kind = {kind: Graph(name, hashes[name]) for kind, name in graphs.items()}
        sources = PrecisionGraphs(by_kind, list(network.fp32_nodes))
        found.setdefault(step, {})[file] = PartGraphs(precision, sources)
    return found


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
