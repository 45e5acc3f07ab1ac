"""Compilation of a network with early exits: clean graphs, precisions, gates, the whole path."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.compile.bundle import Compiled
from edgevpr.compile.engine.parity import GATES, check_finite, compare
from edgevpr.compile.exits.cut import SINGLE, Cut, describe_routes, read_cut, whole_graphs
from edgevpr.compile.exits.exit_bundle import CompiledExits
from edgevpr.compile.exits.full_path import (
    full_path_evidence,
    measure_routes,
    segments_will_do,
)
from edgevpr.compile.exits.parity_of_exits import Judged, judge
from edgevpr.compile.exits.typed_parts import TypedParts, type_parts, with_half_boundaries
from edgevpr.compile.graph.latency import Latency
from edgevpr.compile.graph.signature import load_graph, signature
from edgevpr.compile.request import CompileRequest
from edgevpr.compile.stages import Stages
from edgevpr.compile.steps import Steps
from edgevpr.errors import NumericsError

#: Images that cleaning up is checked on.
PROBES = 4


def compile_exits(
    request: CompileRequest,
    stages: Stages,
    steps: Steps,
    one_graph: Callable[[CompileRequest], Compiled],
) -> CompiledExits | dict[str, str]:
    """Reference, clean graphs and typed graphs of all exits, with their parity.

    Args:
        request: its source has exits.
        one_graph: compiles the whole path as one graph.

    Returns:
        what a bundle is written from; where every early exit failed its gate, why, by exit.

    Raises:
        NumericsError: the whole path fails its gate, or its segments are not the network.
    """
    images, here = request.images.held_out, request.runs_here
    single = load_graph(request.source.graph)
    exported = _exported(request, single)
    golden = steps.run(
        "reference", "FP32 reference", lambda: _golden(request, exported, single, stages)
    )
    if request.exits == "separate":
        exported = whole_graphs(exported, single)
    clean = steps.run("clean", "cleaning up", lambda: _clean(request, exported, stages))
    _check_segments(clean, golden, images, stages)
    parts = type_parts(clean, request, stages, steps)
    half = not here and parts.precision != "fp32" and request.exits == "together"
    if half:
        parts = with_half_boundaries(clean, parts)
    judged = steps.run(
        "parity",
        "parity of every exit",
        lambda: judge(clean, parts, golden, images, stages, as_written=not here),
    )
    kept = [name for name in clean.early if name in judged.passed]
    if not kept:
        return {name: why for name, why in judged.dropped.items() if name != FULL}
    if judged.refused is not None and request.exits == "separate":
        raise judged.refused
    clean = clean.only([*kept, FULL])
    latency: Mapping[str, Latency] = {}
    full_path = {}
    if here or FULL in judged.dropped:
        whole = None if request.exits == "separate" else one_graph(_as_one(request))
        graph = parts.typed[SINGLE].graph if whole is None else whole.typed.graph
        segments = FULL not in judged.dropped
        if here:
            latency, segments = steps.run(
                "latency",
                "latency of every exit",
                lambda: _latency(request, clean, parts, graph, judged),
            )
        if whole is not None:
            if latency:
                full_path = full_path_evidence(latency, segments=segments)
            if not segments:
                clean = _through_one_graph(clean, parts, judged, whole)
                latency = {**latency, FULL: latency[SINGLE]} if latency else {}
    parts = _used(parts, clean)
    return CompiledExits(
        request=request,
        exported=exported.only(list(clean.routes)),
        clean=clean,
        parts=parts,
        half=half,
        dim=signature(single).dim,
        golden=golden,
        parity=judged.passed,
        extremes=judged.extremes,
        dropped={n: why for n, why in judged.dropped.items() if n != FULL},
        latency={n: found for n, found in latency.items() if n != SINGLE},
        full_path=full_path,
        warnings=[*judged.warnings, *_warnings(request, parts, judged, latency)],
    )


def _exported(request: CompileRequest, single: onnx.ModelProto) -> Cut:
    source = request.source
    assert source.parts is not None
    cut = read_cut(source.parts, [e.name for e in source.exits])
    _check_ends(cut, single)
    return cut


def _check_ends(cut: Cut, single: onnx.ModelProto) -> None:
    """Raise where the exits and the single graph take or give something else."""
    first, last = cut.routes[FULL][0], cut.routes[FULL][-1]
    ends = signature(single)
    found = (
        tuple(d.dim_value for d in cut.graphs[first].graph.input[0].type.tensor_type.shape.dim),
        cut.graphs[last].graph.output[0].type.tensor_type.shape.dim[1].dim_value,
    )
    if found != (ends.input_shape, ends.dim):
        raise NumericsError(
            f"found segments from {found[0]} to {found[1]} values, expected {ends.input_shape} to "
            f"{ends.dim}, as of the network: run edgevpr compile MODEL again"
        )


def _golden(
    request: CompileRequest, exported: Cut, single: onnx.ModelProto, stages: Stages
) -> dict[str, NDArray[np.float32]]:
    """Descriptors that each exit must give: FP32 graphs', then the projection in numpy."""
    images, projection = request.images.held_out, request.source.projection
    early = {name: exported.routes[name] for name in exported.early}
    found = stages.describe_routes(exported.graphs, early, images)
    found[FULL] = stages.describe(single, images)
    for name, descriptors in found.items():
        path = "the exported FP32 graph" if name == FULL else f"the exported FP32 exit {name}"
        check_finite(descriptors, path)
    return {name: projection.apply(f) if projection else f for name, f in found.items()}


def _clean(request: CompileRequest, exported: Cut, stages: Stages) -> Cut:
    """Every graph cleaned up, checked on what it reads; the projection fused into the last ones."""
    images = request.images.held_out[:PROBES]
    last = {route[-1] for route in exported.routes.values()}
    cleaned = {}
    for key, graph in exported.graphs.items():
        route = next(route for route in exported.routes.values() if key in route)
        way = route[: route.index(key)]
        probes = describe_routes(exported.graphs, {"": way}, images)[""]
        projection = request.source.projection if key in last else None
        cleaned[key] = stages.clean(graph, projection, probes)
    return Cut(cleaned, exported.routes)


def _check_segments(
    clean: Cut,
    golden: Mapping[str, NDArray[np.float32]],
    images: NDArray[np.uint8],
    stages: Stages,
) -> None:
    """Raise where the whole path in FP32 is not the network it was cut from."""
    found = stages.describe_routes(clean.graphs, {FULL: clean.routes[FULL]}, images)[FULL]
    parity, least = compare(found, golden[FULL]), GATES["fp32"]
    if least is not None and not parity.min_cosine >= least:
        raise NumericsError(
            f"found cosine {parity.min_cosine:.6f} between the segments and the whole network in "
            f"FP32, expected at least {least}: pass `exits` none, and report the backbone's name, "
            "it is cut wrongly"
        )


def _as_one(request: CompileRequest) -> CompileRequest:
    """The whole path as one graph; a search is spent on the segments alone."""
    precision = request.precision
    if precision == "auto":
        precision = "fp32" if request.runs_here else "fp16"
    return dataclasses.replace(request, precision=precision, exits="none", recall=None)


def _latency(
    request: CompileRequest,
    clean: Cut,
    parts: TypedParts,
    single: onnx.ModelProto,
    judged: Judged,
) -> tuple[dict[str, Latency], bool]:
    """Latency of every exit here, and whether the whole path runs through the segments."""
    graphs = {key: typed.graph for key, typed in parts.typed.items()}
    fp32 = None if parts.precision == "fp32" else clean.graphs
    found = measure_routes(clean, graphs, single, fp32, request.images.held_out[0])
    return found, FULL not in judged.dropped and segments_will_do(found)


def _through_one_graph(clean: Cut, parts: TypedParts, judged: Judged, whole: Compiled) -> Cut:
    """The cut whose whole path is one graph, which joins the parts."""
    parts.typed[SINGLE], parts.precisions[SINGLE] = whole.typed, whole.precision
    parts.safer[SINGLE] = whole.safer
    judged.passed[FULL], judged.extremes[FULL] = whole.parity, whole.extremes
    routes = {**clean.routes, FULL: (SINGLE,)}
    return Cut({**clean.graphs, SINGLE: whole.clean}, routes).only(list(routes))


def _used(parts: TypedParts, clean: Cut) -> TypedParts:
    """The parts that some exit runs, in the order of the cut's graphs."""
    keys = list(clean.graphs)
    return dataclasses.replace(
        parts,
        precisions={key: parts.precisions[key] for key in keys},
        typed={key: parts.typed[key] for key in keys},
        safer={key: parts.safer[key] for key in keys},
        decisions={key: found for key, found in parts.decisions.items() if key in keys},
    )


def _warnings(
    request: CompileRequest,
    parts: TypedParts,
    judged: Judged,
    latency: Mapping[str, Latency],
) -> list[str]:
    found = [
        f"exit {name} is left out: {why}" for name, why in judged.dropped.items() if name != FULL
    ]
    if FULL in judged.dropped:
        found.append(f"the whole path runs as one graph: through segments, {judged.dropped[FULL]}")
    if request.precision == "int8" and not any(t.int8_nodes for t in parts.typed.values()):
        found.append("no layer of this network is worth INT8: none is in this bundle")
    if parts.precision == "int8" and latency:
        own, fp32 = latency[FULL].p50_ms, latency["fp32"].p50_ms
        if own > fp32:
            found.append(
                f"int8 takes {own:.2f} ms and fp32 {fp32:.2f} ms on this CPU: compile in fp32 "
                "unless the size matters"
            )
    return found
