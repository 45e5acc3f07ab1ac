"""The steps of ``edgevpr compile``: read, export, choose images, compile."""

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.artifacts.records import BundleRecord
from edgevpr.compile.auto.decision import Decision
from edgevpr.compile.auto.search import Goal
from edgevpr.compile.auto.tuning_images import Map, read_tuning
from edgevpr.compile.board_graphs import write_recipe
from edgevpr.compile.bundle import GOLDEN, _with_safer, _write_engines
from edgevpr.compile.cache import Cache
from edgevpr.compile.engine.compatibility import check_target
from edgevpr.compile.engine.parity import check_finite, compare, gate
from edgevpr.compile.evidence import latency_evidence, node_evidence, parity_evidence, versions
from edgevpr.compile.graph.signature import load_graph, signature
from edgevpr.compile.options import PRECISIONS, CompileOptions, Precision, resolve_precision
from edgevpr.compile.precision.calibration import (
    CalibrationImages,
    extremes,
    images_of_gallery,
    read_calibration,
    synthetic_images,
)
from edgevpr.compile.precision.typed import Method, Typed, check_calibration
from edgevpr.compile.source import Source, read_source
from edgevpr.compile.stages import Recall, Stages
from edgevpr.device.targets import Target, load_target
from edgevpr.errors import CorruptArtifactError, ResourceError, UsageError
from edgevpr.files import cache_folder
from edgevpr.progress import Track, silent


def compile_artifact(
    model: Path,
    options: CompileOptions,
    *,
    out: Path,
    export: Callable[[Path, Path], object],
    open_gallery: Callable[[Path], Map] | None = None,
    track: Track = silent,
) -> BundleRecord:
    """Compile a model artifact; see ``compile_model``.

    What can be refused is refused before the minutes that export and calibration take.

    Args:
        export: (model artifact, ONNX file to write); the train room's, which has torch.
        open_gallery: (gallery artifact) -> its search; the runtime room's, for "auto".

    Raises:
        DataError: INT8 without calibration images.
        ResourceError: nothing can be written at ``out``.
    """
    asked = resolve_precision(load_target(options.target), options.precision)
    check_target(load_target(options.target), asked)
    _check_writable(out)
    if asked == "auto" and options.gallery is None:
        raise UsageError(
            "found --precision auto without --gallery, expected one to measure recall in: pass "
            "--gallery, or --precision int8"
        )
    cache = Cache(cache_folder() / "compile" if options.cache else None)
    with tempfile.TemporaryDirectory(prefix="edgevpr-export-") as scratch:
        source = read_source(model, Path(scratch, "model.onnx"), options.gallery)
        folder = options.calibration
        if folder is None and options.gallery is not None:
            folder = images_of_gallery(options.gallery)
        if asked in ("int8", "auto") and folder is None:
            check_calibration(None)
        images = (
            synthetic_images(source.preprocess, seed=options.seed)
            if folder is None
            else read_calibration(
                folder, source.preprocess, options.count, seed=options.seed, track=track
            )
        )
        recall = None
        if asked == "auto" and folder is not None:
            recall = _recall(source, folder, images, options, open_gallery, track)
        stages = Stages(cache, Path(scratch), track)
        for _ in track([None], "exporting to ONNX", 1):
            graph = stages.export(source.model_digest, lambda path: export(model, path))
        saved = msgspec.to_builtins(options, enc_hook=str)
        return compile_model(
            dataclasses.replace(source, graph=graph),
            target=options.target,
            precision=asked,
            out=out,
            images=images,
            config={
                **saved,
                "verb": "compile",
                "model": str(model),
                "precision": asked,
                "calibration": None if folder is None else str(folder),
                "images": options.count,
            },
            method=options.calibrator,
            recall=recall,
            cache=cache,
            track=track,
        )


def _recall(
    source: Source,
    folder: Path,
    images: CalibrationImages,
    options: CompileOptions,
    open_gallery: Callable[[Path], Map] | None,
    track: Track,
) -> Recall:
    """What "auto" is judged by: the gallery, opened, and images that it answers."""
    assert options.gallery is not None
    assert open_gallery is not None
    gallery = open_gallery(options.gallery)
    tuning = read_tuning(
        options.tuning or folder,
        gallery.images,
        source.preprocess,
        without=images.paths if options.tuning in (None, folder) else (),
        radius_m=options.radius_m,
        seed=options.seed,
        track=track,
    )
    return Recall(
        goal=Goal(options.max_recall_drop, options.auto_minutes),
        tuning=tuning,
        gallery=gallery,
        digest=open_artifact(options.gallery, "gallery", verify=False).digest,
    )


def _check_writable(out: Path) -> None:
    parent = out.resolve().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ResourceError(
            f"{parent} is not a folder this user can write to, expected one for {out.name}: choose "
            "another output with -o"
        )


_TYPING = {"fp32": "FP32", "fp16": "typing FP16", "int8": "calibrating INT8, typing FP16"}


T = TypeVar("T")


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
        write_artifact(out, "bundle", space=source.space) as folder,
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
        digest = sha256_file(folder / "model.onnx")
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
        write_json(folder / "bundle.json", record)
        write_json(folder / "config.json", {**(config or {}), "versions": versions()})
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


def _check_size(exported: onnx.ModelProto, source: Source) -> None:
    shape = signature(exported).input_shape
    size = (source.preprocess.height, source.preprocess.width)
    if shape[1:3] != size:
        raise CorruptArtifactError(
            f"the graph takes {shape[2]}x{shape[1]} pixels, the model's preprocessing gives "
            f"{size[1]}x{size[0]}: export it again with edgevpr compile MODEL"
        )
