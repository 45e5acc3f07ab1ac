"""``edgevpr compile``: from an exported graph to a bundle for one target, with its evidence."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.artifacts import folder as artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.compile.auto.decision import Decision
from edgevpr.compile.board_graphs import write_recipe
from edgevpr.compile.cache import Cache
from edgevpr.compile.engine.build_engine import build_ahead_of_time
from edgevpr.compile.engine.parity import check_finite, compare, gate
from edgevpr.compile.engine.sidecars import write_engine
from edgevpr.compile.evidence import latency_evidence, node_evidence, parity_evidence, versions
from edgevpr.compile.graph.signature import load_graph, signature
from edgevpr.compile.precision.calibration import CalibrationImages, extremes
from edgevpr.compile.precision.gpu_graph import Method, Typed, check_calibration
from edgevpr.compile.source import Source
from edgevpr.compile.stages import Recall, Stages
from edgevpr.device.cpu import cpu_name
from edgevpr.device.targets import Target, load_target
from edgevpr.errors import CorruptArtifactError, UsageError
from edgevpr.progress import Track, silent

Precision = Literal["fp32", "fp16", "int8"]
#: Or found by search, see ``edgevpr.compile.auto``.
Asked = Literal["fp32", "fp16", "int8", "auto"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_TYPING = {"fp32": "FP32", "fp16": "typing FP16", "int8": "calibrating INT8, typing FP16"}
T = TypeVar("T")

#: What a target's engine can compute in, its default first.
OFFERED: dict[str, tuple[Precision, ...]] = {
    "onnxruntime": ("fp32", "int8"),
    "tensorrt": ("fp16", "int8", "fp32"),
    "tensorrt-rtx": ("fp16", "int8", "fp32"),
}
#: Golden images kept in the bundle.
GOLDEN = 8


@dataclass
class _Clock:
    """Runs steps under a progress bar each and keeps their seconds."""

    track: Track
    seconds: dict[str, float] = field(default_factory=dict)

    def step(self, name: str, description: str, work: Callable[[], T], *, bar: bool = True) -> T:
        started = time.perf_counter()
        result = [work() for _ in (self.track([None], description, 1) if bar else [None])]
        self.seconds[name] = round(time.perf_counter() - started, 3)
        return result[0]


def resolve_precision(target: Target, precision: str | None) -> Asked:
    """The precision to compile in, or "auto"; None takes the target's default.

    Raises:
        UsageError: the target does not compute in it.
    """
    offered = OFFERED[target.runtime]
    if precision is None:
        return offered[0]
    if precision == "auto":
        return "auto"
    for known in offered:
        if precision == known:
            return known
    raise UsageError(
        f"found --precision {precision}, expected auto, {' or '.join(sorted(offered))} for "
        f"target {target.name}: choose one of those"
    )


def compile_model(
    source: Source,
    *,
    target: str,
    precision: str | None,
    out: Path,
    images: CalibrationImages,
    config: dict[str, Any] | None = None,
    method: Method | None = None,
    recall: Recall | None = None,
    cache: Cache | None = None,
    track: Track = silent,
) -> BundleRecord:
    """Compile a graph for a target and write the bundle artifact.

    Args:
        precision: "fp32", "fp16", "int8" or "auto"; None: the target's default.
        out: the bundle's folder; one that is there is replaced at the very end.
        images: calibration images; parity and golden vectors come from the held-out ones.
        config: resolved options, saved beside the result.
        method: how INT8 ranges are set; None: what serves the target best.
        recall: what "auto" is judged by.
        cache: of earlier compilations; None: everything is made anew.

    Raises:
        UsageError: an unknown target, or a precision it does not have.
        DataError: INT8 with fewer than 8 calibration images.
        NumericsError: NaN, or parity with FP32 below the gate.
        TargetError: an operator that the target cannot build, named with its node.
    """
    chosen = load_target(target)
    asked = resolve_precision(chosen, precision)
    if asked in ("int8", "auto"):
        check_calibration(images.calibration)
    if asked == "auto" and recall is None:
        raise UsageError(
            "found --precision auto without a gallery, expected one to measure recall in: pass "
            "--gallery"
        )
    clock = _Clock(track)
    with (
        tempfile.TemporaryDirectory(prefix="edgevpr-compile-") as scratch,
        artifact.create(out, "bundle", space=source.space) as folder,
    ):
        stages = Stages(cache or Cache(None), Path(scratch), track)
        exported = load_graph(source.graph)
        _check_size(exported, source)
        golden = clock.step(
            "reference",
            "FP32 reference",
            lambda: _reference(stages, exported, source, images.held_out),
        )
        clean = clock.step(
            "clean",
            "cleaning up",
            lambda: stages.clean(exported, source.projection, images.held_out[:4]),
        )
        decision: Decision | None = None
        if asked == "auto":
            assert recall is not None
            decision, typed = clock.step(
                "auto",
                "auto",
                lambda: stages.search(clean, chosen, images.calibration, method, recall),
                bar=False,
            )
            resolved: Precision = _known(decision.precision)
        else:
            resolved = asked
            typed = clock.step(
                resolved,
                _TYPING[resolved],
                lambda: stages.typed(clean, chosen, resolved, images.calibration, method),
                bar=chosen.runtime != "onnxruntime",
            )
        # On a CPU target the engine is ONNX Runtime itself; elsewhere, round as the engine would.
        found = clock.step(
            "parity",
            "parity",
            lambda: stages.describe(
                typed.graph, images.held_out, as_written=chosen.runtime != "onnxruntime"
            ),
        )
        check_finite(found, f"the {resolved} graph")
        parity = compare(found, golden)
        warnings = gate(parity, resolved)
        extreme = clock.step(
            "extremes", "extreme images", lambda: _extremes(stages, clean, typed, chosen, resolved)
        )
        if asked == "int8" and not typed.int8_nodes:
            warnings.append("no layer of this network is worth INT8: none is in this bundle")
        onnx.save(typed.graph, str(folder / "model.onnx"))
        digest = artifact.sha256_file(folder / "model.onnx")
        np.save(folder / "golden_inputs.npy", images.held_out[:GOLDEN])
        np.save(folder / "golden_descriptors.npy", golden[:GOLDEN])
        evidence: dict[str, Any] = {
            "parity": parity_evidence(parity, chosen, resolved, images),
            "nodes": node_evidence(exported, clean, typed.graph),
            "extremes": extreme,
            "fp32_nodes": typed.fp32_nodes,
            "int8_nodes": typed.int8_nodes,
            "calibrator": method
            or ("percentile" if chosen.runtime == "onnxruntime" else "entropy"),
            "engines": {},
        }
        if decision is not None:
            evidence["auto"] = msgspec.to_builtins(decision)
            warnings += decision.remarks
        if chosen.runtime == "onnxruntime":
            evidence["latency"], slow = clock.step(
                "latency", "latency", lambda: latency_evidence(clean, typed.graph, resolved, images)
            )
            warnings += slow
        if chosen.runtime == "tensorrt":
            networks = clock.step(
                "safer",
                "safer precisions",
                lambda: _with_safer(
                    typed,
                    clean,
                    resolved,
                    lambda: stages.typed(clean, chosen, "fp16", images.calibration, method),
                ),
            )
            write_recipe(folder, chosen, resolved, networks, digest, int8_cosine=parity.min_cosine)
        if chosen.runtime == "tensorrt-rtx":
            evidence["engines"] = clock.step(
                "engines",
                "engines",
                lambda: _write_engines(folder, chosen, resolved, digest, track),
                bar=False,
            )
        evidence["bytes"] = {
            file.relative_to(folder).as_posix(): file.stat().st_size
            for file in sorted(folder.rglob("*"))
            if file.suffix in (".onnx", ".bin", ".engine")
        }
        evidence["warnings"] = warnings
        evidence["seconds"] = clock.seconds
        evidence["cached"] = list(stages.cache.found)
        ends = signature(typed.graph)
        record = BundleRecord(
            target=chosen.name,
            runtime=chosen.runtime,
            precision=resolved,
            preprocess=source.preprocess,
            input=ends.input,
            output=ends.output,
            dim=signature(exported).dim,
            output_dim=ends.dim,
            projection=source.projection_sha256,
            model_digest=source.model_digest,
            graph_sha256=digest,
            engines=list(evidence["engines"]),
            evidence=evidence,
        )
        artifact.write_json(folder / "bundle.json", record)
        artifact.write_json(folder / "config.json", {**(config or {}), "versions": versions()})
    return record


def _reference(
    stages: Stages, exported: onnx.ModelProto, source: Source, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """What the bundle must give: the exported graph in FP32, then the projection in numpy."""
    full = stages.describe(exported, images)
    check_finite(full, "the exported FP32 graph")
    return source.projection.apply(full) if source.projection else full


def _extremes(
    stages: Stages, clean: onnx.ModelProto, typed: Typed, target: Target, precision: Precision
) -> dict[str, Any]:
    """Parity on black, white, noise and stripes, where the network itself gives numbers.

    Raises:
        NumericsError: the typed graph gives NaN or infinity where the FP32 one does not.
    """
    images = extremes(*signature(clean).input_shape[1:3])
    expected = stages.describe(clean, images)
    sound = np.isfinite(expected).all(axis=1)
    if not sound.any():
        return {"images": 0}
    found = stages.describe(typed.graph, images, as_written=target.runtime != "onnxruntime")
    check_finite(found[sound], f"the {precision} graph (on black, white, noise and stripes)")
    parity = compare(found[sound], expected[sound])
    return {"images": int(sound.sum()), "min_cosine": parity.min_cosine}


def _known(precision: str) -> Precision:
    return next(known for known in PRECISIONS if known == precision)


def _with_safer(
    typed: Typed, clean: onnx.ModelProto, precision: Precision, fp16: Callable[[], Typed]
) -> dict[str, Typed]:
    """The network in its precision, and in those that a board falls back to."""
    networks: dict[str, Typed] = {precision: typed}
    if precision == "int8":
        networks["fp16"] = fp16()
    return {**networks, "fp32": networks.get("fp32", Typed(clean, clean, {}, []))}


def _write_engines(
    folder: Path, target: Target, precision: Precision, digest: str, track: Track
) -> dict[str, dict[str, Any]]:
    """Engines of every GPU generation of the target; name -> seconds and TensorRT's remarks."""
    board = f"built ahead of time on {cpu_name()}"
    built = build_ahead_of_time(folder / "model.onnx", target.name, precision, track)
    report: dict[str, dict[str, Any]] = {}
    for sm, engine in built.items():
        sidecar = write_engine(
            folder,
            engine,
            runtime=target.runtime,
            precision=precision,
            sm=sm,
            graph_sha256=digest,
            board=board,
        )
        report[sidecar.engine] = {
            "seconds": sidecar.build_seconds,
            "messages": engine.messages,
            "layers": msgspec.to_builtins(engine.layers),
        }
    return report


def _check_size(exported: onnx.ModelProto, source: Source) -> None:
    shape = signature(exported).input_shape
    size = (source.preprocess.height, source.preprocess.width)
    if shape[1:3] != size:
        raise CorruptArtifactError(
            f"the graph takes {shape[2]}x{shape[1]} pixels, the model's preprocessing gives "
            f"{size[1]}x{size[0]}: export it again with edgevpr compile MODEL"
        )
