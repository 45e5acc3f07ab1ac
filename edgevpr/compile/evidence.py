"""Evidence in a bundle: parity, node counts, latency, each with the device it was measured on."""

from pathlib import Path
from typing import Any

import msgspec
import onnx
import onnxruntime

from edgevpr.compile.engine.parity import Parity
from edgevpr.compile.graph.latency import latencies
from edgevpr.compile.graph.signature import node_counts
from edgevpr.compile.precision.calibration import CalibrationImages
from edgevpr.device.cpu import cpu_name, has_int8_dot_product
from edgevpr.device.targets import Target


def parity_evidence(
    parity: Parity, target: Target, precision: str, images: CalibrationImages
) -> dict[str, Any]:
    """Parity, the reference it is against, its images, and whether the engine itself ran."""
    own = target.runtime == "onnxruntime"
    return {
        "graph": precision,
        "against": "the exported FP32 graph (and the projection in numpy) in ONNX Runtime",
        **msgspec.structs.asdict(parity),
        "source": images.source,
        "held_out": images.separate,
        "provenance": "measured" if own else "emulated",
        "device": f"ONNX Runtime {onnxruntime.__version__} on {cpu_name()}",
    }


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of a bundle's graphs, their weights and its engines, by name."""
    return {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.suffix in (".onnx", ".bin", ".engine")
    }


def node_evidence(
    exported: onnx.ModelProto, clean: onnx.ModelProto, final: onnx.ModelProto
) -> dict[str, Any]:
    """Nodes after each stage, operators of the final graph, and those that cleaning up changed.

    ``cleaned``: operator -> how many before and after, where the two differ.
    """
    stages = {"exported": exported, "clean": clean, "final": final}
    counts: dict[str, Any] = {name: len(graph.graph.node) for name, graph in stages.items()}
    before, after = node_counts(exported), node_counts(clean)
    return {
        **counts,
        "operators": node_counts(final),
        "cleaned": {
            kind: [before.get(kind, 0), after.get(kind, 0)]
            for kind in sorted({*before, *after})
            if before.get(kind, 0) != after.get(kind, 0)
        },
    }


def latency_evidence(
    clean: onnx.ModelProto, graph: onnx.ModelProto, precision: str, images: CalibrationImages
) -> tuple[dict[str, Any], list[str]]:
    """Latency beside FP32's on this machine, and a warning if INT8 does not pay."""
    graphs = {"fp32": clean} if precision == "fp32" else {"fp32": clean, precision: graph}
    measured = latencies(graphs, images.held_out[0])
    evidence: dict[str, Any] = {
        **{name: msgspec.structs.asdict(value) for name, value in measured.items()},
        "provenance": "measured",
        "device": f"ONNX Runtime {onnxruntime.__version__} on {cpu_name()}",
    }
    if precision != "int8":
        return evidence, []
    ratio = measured["fp32"].p50_ms / measured["int8"].p50_ms
    evidence["speedup"] = round(ratio, 3)
    evidence["int8_dot_product"] = has_int8_dot_product()
    if ratio >= 1:
        return evidence, []
    return evidence, [
        f"int8 takes {measured['int8'].p50_ms:.2f} ms and fp32 {measured['fp32'].p50_ms:.2f} ms on "
        "this CPU: compile in fp32 unless the size matters"
    ]
