"""Writer of bundle artifacts: graph, golden vectors, recipe or engines, evidence, record."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.artifacts.records import BundleRecord
from edgevpr.compile.auto.decision import Decision
from edgevpr.compile.board_graphs import write_recipe
from edgevpr.compile.engine.build_engine import build_ahead_of_time
from edgevpr.compile.engine.parity import Parity
from edgevpr.compile.engine.sidecars import EngineDevice, EngineGraph, write_engine
from edgevpr.compile.evidence import file_sizes, latency_evidence, node_evidence, parity_evidence
from edgevpr.compile.graph.signature import signature
from edgevpr.compile.precision.choices import Precision, usual_method
from edgevpr.compile.precision.typed import TypedGraph
from edgevpr.compile.request import CompileRequest
from edgevpr.compile.steps import Steps
from edgevpr.compile.versions import versions
from edgevpr.device.cpu import cpu_name
from edgevpr.device.targets import Target
from edgevpr.progress import Track

#: Golden images kept in the bundle.
GOLDEN = 8


@dataclass(frozen=True)
class Compiled:
    """Everything a bundle is written from."""

    request: CompileRequest
    precision: Precision
    #: as exported; with the projection fused and constants folded; in its precision.
    exported: onnx.ModelProto
    clean: onnx.ModelProto
    typed: TypedGraph
    #: (n, d) FP32 descriptors of the held-out images.
    golden: NDArray[np.float32]
    #: None where the precision was asked for.
    decision: Decision | None
    parity: Parity
    #: parity on black, white, noise and stripes.
    extremes: dict[str, Any]
    warnings: list[str]
    #: precision -> network that a board falls back to; empty but for Jetsons.
    safer: dict[str, TypedGraph]


def write_bundle(
    folder: Path,
    compiled: Compiled,
    steps: Steps,
    cached: Sequence[str],
    config: dict[str, Any],
) -> BundleRecord:
    """Fill the folder of a bundle.

    Args:
        steps: the compilation's, whose seconds go into the evidence.
        cached: kinds of the stages that were found in the cache.
        config: resolved options.
    """
    request, typed = compiled.request, compiled.typed
    onnx.save(typed.graph, str(folder / "model.onnx"))
    digest = sha256_file(folder / "model.onnx")
    np.save(folder / "golden_inputs.npy", request.images.held_out[:GOLDEN])
    np.save(folder / "golden_descriptors.npy", compiled.golden[:GOLDEN])
    evidence = _evidence(compiled)
    evidence |= _for_target(folder, compiled, digest, steps, evidence["warnings"])
    evidence |= {
        "bytes": file_sizes(folder),
        "seconds": steps.seconds,
        "cached": list(cached),
    }
    record = _record(compiled, digest, evidence)
    write_json(folder / "bundle.json", record)
    write_json(folder / "config.json", {**config, "versions": versions()})
    return record


def _evidence(compiled: Compiled) -> dict[str, Any]:
    request, typed = compiled.request, compiled.typed
    evidence: dict[str, Any] = {
        "parity": parity_evidence(
            compiled.parity, request.target, compiled.precision, request.images
        ),
        "nodes": node_evidence(compiled.exported, compiled.clean, typed.graph),
        "extremes": compiled.extremes,
        "fp32_nodes": typed.fp32_nodes,
        "int8_nodes": typed.int8_nodes,
        "calibrator": request.method or usual_method(request.target.runtime),
        "engines": {},
        "warnings": list(compiled.warnings),
    }
    if compiled.decision is not None:
        evidence["auto"] = msgspec.to_builtins(compiled.decision)
        evidence["warnings"] += compiled.decision.remarks
    return evidence


def _for_target(
    folder: Path, compiled: Compiled, digest: str, steps: Steps, warnings: list[str]
) -> dict[str, Any]:
    """Latency, recipe or engines, by the target's runtime; returns their evidence.

    Args:
        warnings: receives further ones.
    """
    target, precision = compiled.request.target, compiled.precision
    if target.runtime == "onnxruntime":
        latency, slow = steps.run(
            "latency",
            "latency",
            lambda: latency_evidence(
                compiled.clean, compiled.typed.graph, precision, compiled.request.images
            ),
        )
        warnings += slow
        return {"latency": latency}
    if target.runtime == "tensorrt":
        networks = {precision: compiled.typed, **compiled.safer}
        cosine = compiled.parity.min_cosine
        write_recipe(folder, target, precision, networks, digest, int8_cosine=cosine)
        return {}
    engines = steps.run(
        "engines",
        "engines",
        lambda: write_engines(folder, target, EngineGraph(precision, digest), steps.track),
        bar=False,
    )
    return {"engines": engines}


def write_engines(
    folder: Path, target: Target, graph: EngineGraph, track: Track
) -> dict[str, dict[str, Any]]:
    """Engines of a graph for every GPU generation of the target.

    Returns:
        name -> seconds and TensorRT's remarks.
    """
    built = build_ahead_of_time(folder / graph.file, target.name, graph.precision, track)
    report: dict[str, dict[str, Any]] = {}
    for sm, engine in built.items():
        device = EngineDevice(target.runtime, sm, f"built ahead of time on {cpu_name()}")
        sidecar = write_engine(folder, engine, device, graph)
        report[sidecar.engine] = {
            "seconds": sidecar.build_seconds,
            "messages": engine.messages,
            "layers": msgspec.to_builtins(engine.layers),
        }
    return report


def _record(compiled: Compiled, digest: str, evidence: dict[str, Any]) -> BundleRecord:
    request, ends = compiled.request, signature(compiled.typed.graph)
    return BundleRecord(
        target=request.target.name,
        runtime=request.target.runtime,
        precision=compiled.precision,
        preprocess=request.source.preprocess,
        input=ends.input,
        output=ends.output,
        dim=signature(compiled.exported).dim,
        output_dim=ends.dim,
        projection=request.source.projection_sha256,
        model_digest=request.source.model_digest,
        graph_sha256=digest,
        engines=list(evidence["engines"]),
        evidence=evidence,
    )
