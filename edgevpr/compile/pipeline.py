"""Pipeline of ``edgevpr compile``: from a model artifact to a bundle for one target."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.compile.auto.decision import Decision
from edgevpr.compile.auto.search import Goal
from edgevpr.compile.auto.tuning_images import read_tuning
from edgevpr.compile.bundle import Compiled, write_bundle
from edgevpr.compile.cache import Cache
from edgevpr.compile.engine.compatibility import check_target
from edgevpr.compile.engine.parity import check_finite, compare, gate
from edgevpr.compile.exits.compile_exits import compile_exits
from edgevpr.compile.exits.exit_bundle import CompiledExits, write_exit_bundle
from edgevpr.compile.graph.signature import load_graph, signature
from edgevpr.compile.options import CompileOptions, resolve_precision
from edgevpr.compile.precision.calibration import (
    CalibrationImages,
    extremes,
    images_of_gallery,
    read_calibration,
    synthetic_images,
)
from edgevpr.compile.precision.choices import Precision
from edgevpr.compile.precision.typed import TypedGraph, check_calibration
from edgevpr.compile.request import CompileRequest, RecallGoal, check_gallery
from edgevpr.compile.source import ModelSource, read_source
from edgevpr.compile.stages import Stages
from edgevpr.compile.steps import Steps
from edgevpr.device.targets import load_target
from edgevpr.errors import CorruptArtifactError, ResourceError, UsageError
from edgevpr.files import cache_folder, scratch
from edgevpr.guard import keeps_inputs
from edgevpr.progress import Track, silent
from edgevpr.runtime.gallery.gallery import Gallery

#: Writes the ONNX graph of a model artifact: (model artifact, file to write). The one in
#: ``edgevpr.train.networks.export`` does; it needs torch, which this room does not import.
Export = Callable[[Path, Path], object]
#: Writes the graphs of a model that is cut at its early exits: (model artifact, folder to fill with
#: seg1.onnx, ..., adapt-NAME.onnx, tail.onnx). That of ``edgevpr.train.anytime.export_segments``.
ExportParts = Callable[[Path, Path], object]
_TYPING = {"fp32": "FP32", "fp16": "typing FP16", "int8": "calibrating INT8, typing FP16"}


@keeps_inputs("out")
def compile_artifact(
    model: Path,
    options: CompileOptions,
    *,
    out: Path,
    export: Export,
    export_parts: ExportParts | None = None,
    track: Track = silent,
) -> BundleRecord:
    """Compile a model artifact; see ``compile_model``.

    Mistakes are refused before the minutes that export and calibration take.

    Args:
        export_parts: for a model with early exits; None leaves them out, as ``exits`` none does.

    Raises:
        DataError: INT8 without calibration images.
        UsageError: ``exits`` separate for a model without early exits.
        ResourceError: nothing can be written at ``out``.
    """
    target = load_target(options.target)
    precision = resolve_precision(target, options.precision)
    check_target(target, precision)
    _check_writable(out)
    check_gallery(precision, options.gallery)
    cache = Cache(cache_folder() / "compile" if options.cache else None)
    with scratch("edgevpr-export-") as work:
        source = read_source(model, work / "model.onnx", options.gallery)
        cut = _wants_exits(source, options, model)
        folder = options.calibration
        if folder is None and options.gallery is not None:
            folder = images_of_gallery(options.gallery)
        if precision in ("int8", "auto") and folder is None:
            check_calibration(None)
        images = _images(source, folder, options, track)
        recall = None
        if precision == "auto" and folder is not None:
            recall = _recall_goal(source, folder, images, options, track)
        stages, steps = Stages(cache, work, track), Steps(track)
        graph = steps.run(
            "export",
            "exporting to ONNX",
            lambda: stages.export(source.model_digest, lambda file: export(model, file)),
        )
        source = dataclasses.replace(source, graph=graph)
        if cut and export_parts is not None:
            parts = steps.run(
                "export parts",
                "exporting its exits",
                lambda: stages.export_parts(source.model_digest, lambda f: export_parts(model, f)),
            )
            source = dataclasses.replace(source, parts=parts)
        request = CompileRequest(
            source,
            target,
            precision,
            images,
            options.calibrator,
            recall,
            options.exits if source.parts else "none",
        )
        config = {
            **msgspec.to_builtins(options, enc_hook=str),
            "verb": "compile",
            "model": str(model),
            "precision": precision,
            "calibration": None if folder is None else str(folder),
            "images": options.count,
        }
        return compile_model(request, out, config=config, cache=cache, track=track)


def compile_model(
    request: CompileRequest,
    out: Path,
    *,
    config: dict[str, Any] | None = None,
    cache: Cache | None = None,
    track: Track = silent,
) -> BundleRecord:
    """Compile a graph for a target and write the bundle artifact.

    Args:
        out: the bundle's folder; one that is there is replaced at the very end.
        config: resolved options, saved beside the result.
        cache: of earlier compilations; None: everything is made anew.

    Raises:
        NumericsError: NaN, or parity with FP32 below the gate.
        TargetError: an operator that the target cannot build, named with its node.
    """
    with (
        scratch("edgevpr-compile-") as work,
        write_artifact(out, "bundle", space=request.source.space) as folder,
    ):
        stages, steps = Stages(cache or Cache(None), work, track), Steps(track)
        found = stages.cache.found
        left_out: dict[str, str] = {}
        if request.exits != "none" and request.source.parts is not None:
            exits = compile_exits(request, stages, steps, lambda one: _compile(one, stages, steps))
            if isinstance(exits, CompiledExits):
                return write_exit_bundle(folder, exits, steps, found, config or {})
            left_out = exits
        compiled = _compile(request, stages, steps)
        compiled.warnings.extend(
            f"exit {name} is left out, and none is left: {why}" for name, why in left_out.items()
        )
        return write_bundle(folder, compiled, steps, found, config or {})


def _compile(request: CompileRequest, stages: Stages, steps: Steps) -> Compiled:
    """Reference, clean graph and typed graph, with the parity between them."""
    images = request.images
    exported = load_graph(request.source.graph)
    _check_size(exported, request.source)
    golden = steps.run(
        "reference",
        "FP32 reference",
        lambda: _reference(stages, exported, request.source, images.held_out),
    )
    clean = steps.run(
        "clean",
        "cleaning up",
        lambda: stages.clean(exported, request.source.projection, images.held_out[:4]),
    )
    precision, typed, decision = _typed(request, clean, stages, steps)
    found = steps.run(
        "parity",
        "parity",
        lambda: stages.describe(typed.graph, images.held_out, as_written=not request.runs_here),
    )
    check_finite(found, f"the {precision} graph")
    parity = compare(found, golden)
    warnings = gate(parity, precision)
    extreme = steps.run(
        "extremes",
        "extreme images",
        lambda: _extremes(stages, clean, typed, precision, as_written=not request.runs_here),
    )
    if request.precision == "int8" and not typed.int8_nodes:
        warnings.append("no layer of this network is worth INT8: none is in this bundle")
    return Compiled(
        request=request,
        precision=precision,
        exported=exported,
        clean=clean,
        typed=typed,
        golden=golden,
        decision=decision,
        parity=parity,
        extremes=extreme,
        warnings=warnings,
        safer=_safer(request, precision, clean, stages, steps),
    )


def _typed(
    request: CompileRequest, clean: onnx.ModelProto, stages: Stages, steps: Steps
) -> tuple[Precision, TypedGraph, Decision | None]:
    """The graph in the precision asked for, or in the one that a search finds."""
    target, images, method = request.target, request.images.calibration, request.method
    if request.precision == "auto":
        recall = request.recall
        assert recall is not None
        decision, typed = steps.run(
            "auto",
            "auto",
            lambda: stages.search(clean, target, images, method, recall),
            bar=False,
        )
        return decision.precision, typed, decision
    precision: Precision = request.precision
    typed = steps.run(
        precision,
        _TYPING[precision],
        lambda: stages.typed(clean, target, precision, images, method),
        bar=not request.runs_here,
    )
    return precision, typed, None


def _safer(
    request: CompileRequest,
    precision: Precision,
    clean: onnx.ModelProto,
    stages: Stages,
    steps: Steps,
) -> dict[str, TypedGraph]:
    """Precision -> network that a board falls back to where its engine fails."""
    if request.target.runtime != "tensorrt" or precision == "fp32":
        return {}
    safer = {"fp32": TypedGraph(clean, clean, {}, [])}
    if precision == "fp16":
        return safer
    fp16 = steps.run(
        "safer",
        "safer precisions",
        lambda: stages.typed(
            clean, request.target, "fp16", request.images.calibration, request.method
        ),
    )
    return {"fp16": fp16, **safer}


def _wants_exits(source: ModelSource, options: CompileOptions, model: Path) -> bool:
    """Whether the bundle shall have exits; raises where they are asked for and there are none."""
    if options.exits == "separate" and not source.exits:
        raise UsageError(
            f"found `exits` separate for {model}, which has no early exits, expected a model that "
            "has some: run edgevpr train IMAGES --anytime MODEL, or leave `exits` out"
        )
    return bool(source.exits) and options.exits != "none"


def _images(
    source: ModelSource, folder: Path | None, options: CompileOptions, track: Track
) -> CalibrationImages:
    if folder is None:
        return synthetic_images(source.preprocess, seed=options.seed)
    return read_calibration(
        folder, source.preprocess, options.count, seed=options.seed, track=track
    )


def _recall_goal(
    source: ModelSource,
    folder: Path,
    images: CalibrationImages,
    options: CompileOptions,
    track: Track,
) -> RecallGoal:
    """The gallery, opened, and images that it answers."""
    assert options.gallery is not None
    gallery = Gallery(options.gallery)
    tuning = read_tuning(
        options.tuning or folder,
        gallery.images,
        source.preprocess,
        without=images.paths if options.tuning in (None, folder) else (),
        radius_m=options.radius_m,
        seed=options.seed,
        track=track,
    )
    return RecallGoal(
        goal=Goal(options.max_recall_drop, options.max_minutes),
        tuning=tuning,
        gallery=gallery,
        digest=open_artifact(options.gallery, "gallery", verify=False).digest,
    )


def _reference(
    stages: Stages, exported: onnx.ModelProto, source: ModelSource, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """(n, d) descriptors the bundle must give: the FP32 graph's, then the projection in numpy."""
    full = stages.describe(exported, images)
    check_finite(full, "the exported FP32 graph")
    return source.projection.apply(full) if source.projection else full


def _extremes(
    stages: Stages,
    clean: onnx.ModelProto,
    typed: TypedGraph,
    precision: Precision,
    *,
    as_written: bool,
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
    found = stages.describe(typed.graph, images, as_written=as_written)
    check_finite(found[sound], f"the {precision} graph (on black, white, noise and stripes)")
    parity = compare(found[sound], expected[sound])
    return {"images": int(sound.sum()), "min_cosine": parity.min_cosine}


def _check_size(exported: onnx.ModelProto, source: ModelSource) -> None:
    shape = signature(exported).input_shape
    size = (source.preprocess.height, source.preprocess.width)
    if shape[1:3] != size:
        raise CorruptArtifactError(
            f"found a graph for {shape[2]}x{shape[1]} pixels, expected {size[1]}x{size[0]}, the "
            "model's preprocessing: run edgevpr compile MODEL again, which exports it"
        )


def _check_writable(out: Path) -> None:
    parent = out.resolve().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ResourceError(
            f"found {parent}, which is no folder this user can write to, expected one for "
            f"{out.name}: choose another `output`"
        )
