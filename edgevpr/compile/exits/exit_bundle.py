"""Writer of bundles with early exits: graphs, golden vectors, recipe or engines, evidence."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from edgevpr.artifacts.exit_contract import FULL, graphs_digest
from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.artifacts.records import BundleExit, BundleRecord, ExitRecord, GraphRecord
from edgevpr.compile.board_graphs import write_exit_recipe
from edgevpr.compile.bundle import GOLDEN, write_engines
from edgevpr.compile.engine.parity import Parity
from edgevpr.compile.engine.recipe import SAFER
from edgevpr.compile.engine.sidecars import EngineGraph
from edgevpr.compile.evidence import file_sizes, parity_evidence
from edgevpr.compile.exits.cut import SINGLE, Cut, file_of
from edgevpr.compile.exits.typed_parts import TypedParts
from edgevpr.compile.graph.latency import Latency
from edgevpr.compile.graph.signature import node_counts, tensor_ends
from edgevpr.compile.precision.choices import usual_method
from edgevpr.compile.request import CompileRequest
from edgevpr.compile.steps import Steps
from edgevpr.compile.versions import versions
from edgevpr.device.cpu import cpu_name, has_int8_dot_product


@dataclass(frozen=True)
class CompiledExits:
    """Everything a bundle with early exits is written from."""

    request: CompileRequest
    #: in FP32: as exported, and with the projection fused and constants folded; of the exits that
    #: passed, and the graphs that they run.
    exported: Cut
    clean: Cut
    parts: TypedParts
    #: FP16 between the graphs.
    half: bool
    #: full width D of a descriptor.
    dim: int
    #: exit -> (n, d) FP32 descriptors of the held-out images.
    golden: Mapping[str, NDArray[np.float32]]
    parity: Mapping[str, Parity]
    #: exit -> parity on black, white, noise and stripes.
    extremes: Mapping[str, Mapping[str, float]]
    #: exit -> why it is not in the bundle.
    dropped: Mapping[str, str]
    #: by exit, and "fp32" of the whole path; empty where engines do not run here.
    latency: Mapping[str, Latency]
    #: segments against one graph; empty where that was not measured.
    full_path: Mapping[str, Any]
    warnings: Sequence[str]


def write_exit_bundle(
    folder: Path,
    compiled: CompiledExits,
    steps: Steps,
    cached: Sequence[str],
    config: dict[str, Any],
) -> BundleRecord:
    """Fill the folder of a bundle; arguments as of ``compile.bundle.write_bundle``."""
    request, parts = compiled.request, compiled.parts
    graphs = _write_graphs(folder, compiled)
    exits = [_exit(compiled, name) for name in compiled.clean.routes]
    digest = (
        sha256_file(folder / "model.onnx")
        if exits[-1].graphs == ["model.onnx"]
        else graphs_digest(graph.sha256 for graph in graphs)
    )
    np.save(folder / "golden_inputs.npy", request.images.held_out[:GOLDEN])
    np.save(folder / "golden_descriptors.npy", compiled.golden[FULL][:GOLDEN])
    early = [compiled.golden[name][:GOLDEN] for name in compiled.clean.early]
    np.save(folder / "golden_exits.npy", np.stack(early))
    evidence = _evidence(compiled)
    if request.target.runtime == "tensorrt":
        _write_recipe(folder, compiled)
    elif request.target.runtime == "tensorrt-rtx":
        evidence["engines"] = steps.run(
            "engines",
            "engines",
            lambda: _write_engines(folder, compiled, digest, steps),
            bar=False,
        )
    evidence |= {
        "bytes": file_sizes(folder),
        "seconds": steps.seconds,
        "cached": list(cached),
    }
    record = BundleRecord(
        target=request.target.name,
        runtime=request.target.runtime,
        precision=parts.precision,
        preprocess=request.source.preprocess,
        input=tensor_ends(_first(compiled)).input,
        output=tensor_ends(_last(compiled)).output,
        dim=compiled.dim,
        output_dim=compiled.golden[FULL].shape[1],
        projection=request.source.projection_sha256,
        model_digest=request.source.model_digest,
        graph_sha256=digest,
        engines=list(evidence["engines"]),
        evidence=evidence,
        exits=exits,
        graphs=graphs,
    )
    write_json(folder / "bundle.json", record)
    write_json(folder / "config.json", {**config, "versions": versions()})
    return record


def _write_graphs(folder: Path, compiled: CompiledExits) -> list[GraphRecord]:
    """Every graph's file; records of all but the single one."""
    (folder / "graphs").mkdir()
    records = []
    for key, typed in compiled.parts.typed.items():
        file = file_of(key)
        onnx.save(typed.graph, str(folder / file))
        if key == SINGLE:
            continue
        ends = tensor_ends(typed.graph)
        records.append(
            GraphRecord(
                file=file,
                sha256=sha256_file(folder / file),
                precision=compiled.parts.precisions[key],
                input=ends.input,
                output=ends.output,
                input_shape=list(ends.input_shape),
                output_shape=list(ends.output_shape),
                input_type=ends.input_type,
                output_type=ends.output_type,
            )
        )
    return records


def _exit(compiled: CompiledExits, name: str) -> BundleExit:
    known: dict[str, ExitRecord] = {e.name: e for e in compiled.request.source.exits}
    parity, latency = compiled.parity[name], compiled.latency.get(name)
    return BundleExit(
        name=name,
        graphs=[file_of(key) for key in compiled.clean.routes[name]],
        share=1.0 if name == FULL else known[name].share,
        min_cosine=parity.min_cosine,
        mean_cosine=parity.mean_cosine,
        max_abs_error=parity.max_abs_error,
        ms_p50=latency.p50_ms if latency else None,
        ms_p95=latency.p95_ms if latency else None,
    )


def _write_recipe(folder: Path, compiled: CompiledExits) -> None:
    parts = compiled.parts
    networks, own = {}, {}
    for key, typed in parts.typed.items():
        file, precision = file_of(key), parts.precisions[key]
        own[file] = (precision, sha256_file(folder / file))
        known = {precision: typed, **parts.safer[key]}
        steps = {}
        for step in SAFER[parts.precision]:
            # A graph that a search left in FP16 or FP32 is so in the first step.
            found = precision if step == parts.precision or step not in known else step
            steps[step] = (found, known[found])
        networks[file] = steps
    cosines = {name: parity.min_cosine for name, parity in compiled.parity.items()}
    target = compiled.request.target
    write_exit_recipe(folder, target, parts.precision, networks, own, cosines, half=compiled.half)


def _write_engines(
    folder: Path, compiled: CompiledExits, digest: str, steps: Steps
) -> dict[str, dict[str, Any]]:
    report: dict[str, dict[str, Any]] = {}
    for key, precision in compiled.parts.precisions.items():
        file = file_of(key)
        graph = EngineGraph(precision, digest, file, sha256_file(folder / file), file)
        report |= write_engines(folder, compiled.request.target, graph, steps.track)
    return report


def _evidence(compiled: CompiledExits) -> dict[str, Any]:
    """As of a bundle without exits, with the whole path's parity; nodes are named GRAPH/NODE."""
    request, parts = compiled.request, compiled.parts
    device = f"ONNX Runtime {onnxruntime.__version__} on {cpu_name()}"
    evidence: dict[str, Any] = {
        "parity": parity_evidence(
            compiled.parity[FULL], request.target, parts.precision, request.images
        ),
        "nodes": _nodes(compiled),
        "extremes": dict(compiled.extremes[FULL]),
        "fp32_nodes": {
            f"{key}/{node}": why
            for key, typed in parts.typed.items()
            for node, why in typed.fp32_nodes.items()
        },
        "int8_nodes": [
            f"{key}/{node}" for key, typed in parts.typed.items() for node in typed.int8_nodes
        ],
        "calibrator": request.method or usual_method(request.target.runtime),
        "engines": {},
        "warnings": list(compiled.warnings),
        "exits": {
            "asked": request.exits,
            "dropped": dict(compiled.dropped),
            "extremes": {name: dict(row) for name, row in compiled.extremes.items()},
        },
    }
    if compiled.full_path:
        evidence["full_path"] = dict(compiled.full_path)
    if parts.decisions:
        evidence["auto_graphs"] = msgspec.to_builtins(parts.decisions)
        for key, decision in parts.decisions.items():
            evidence["warnings"] += [f"{key}: {remark}" for remark in decision.remarks]
    if compiled.latency:
        names = {FULL: parts.precision, **{n: n for n in compiled.latency if n == "fp32"}}
        evidence["latency"] = {
            **{name: msgspec.structs.asdict(compiled.latency[n]) for n, name in names.items()},
            "provenance": "measured",
            "device": device,
        }
        if parts.precision == "int8":
            latency = evidence["latency"]
            latency["speedup"] = round(latency["fp32"]["p50_ms"] / latency["int8"]["p50_ms"], 3)
            latency["int8_dot_product"] = has_int8_dot_product()
    return evidence


def _nodes(compiled: CompiledExits) -> dict[str, Any]:
    """Nodes of all graphs together after each stage, and operators of the final ones."""
    final = [typed.graph for typed in compiled.parts.typed.values()]
    stages = {
        "exported": list(compiled.exported.graphs.values()),
        "clean": list(compiled.clean.graphs.values()),
        "final": final,
    }
    counts: dict[str, Any] = {
        name: sum(len(graph.graph.node) for graph in graphs) for name, graphs in stages.items()
    }
    before, after = (_operators(stages[name]) for name in ("exported", "clean"))
    return {
        **counts,
        "operators": dict(_operators(final).most_common()),
        "cleaned": {
            kind: [before[kind], after[kind]]
            for kind in sorted({*before, *after})
            if before[kind] != after[kind]
        },
    }


def _operators(graphs: Sequence[onnx.ModelProto]) -> Counter[str]:
    return sum((Counter(node_counts(graph)) for graph in graphs), Counter[str]())


def _first(compiled: CompiledExits) -> onnx.ModelProto:
    return compiled.parts.typed[compiled.clean.routes[FULL][0]].graph


def _last(compiled: CompiledExits) -> onnx.ModelProto:
    return compiled.parts.typed[compiled.clean.routes[FULL][-1]].graph
