"""``edgevpr build``: the engine of a bundle, built where it will run.

On a board with TensorRT alone: nothing here needs onnx, torch or modelopt.
"""

from pathlib import Path
from typing import Any

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.compile.engine.builder import Engine, Order, build_engine
from edgevpr.compile.engine.first_run import OpenEngine, Trial, check_parity, try_engine
from edgevpr.compile.engine.layer_report import LayerSummary
from edgevpr.compile.engine.on_device import Made, Site, build_step, find_site
from edgevpr.compile.engine.parity import GATES
from edgevpr.compile.engine.preflight import check_room
from edgevpr.compile.engine.recipe import RECIPE, Recipe, Step
from edgevpr.compile.engine.sidecars import BuildReport, stage, write_engine, write_evidence
from edgevpr.device.cpu import Here, cpu_name
from edgevpr.device.targets import load_target
from edgevpr.errors import NumericsError, TargetError, UsageError
from edgevpr.progress import Track, silent


def build_bundle(
    path: Path,
    *,
    open_engine: OpenEngine | None = None,
    here: Here = Here(),
    dla: int | None = None,
    track: Track = silent,
) -> BuildReport:
    """Build the engine of a bundle and put it into the bundle, atomically.

    Args:
        open_engine: loads the new engine for the parity gate; without it there is none.
        here: the board this is.
        dla: deep learning accelerator to prefer, 0 or 1; None: GPU alone.

    Raises:
        TargetError: this machine cannot build it.
        ResourceError: disk, memory, or a bundle that is not writable.
        NumericsError: no precision passed its parity gate; the bundle is as it was.
    """
    bundle = open_artifact(path, "bundle")
    record = bundle.read("bundle.json", BundleRecord)
    if dla is not None and record.runtime != "tensorrt":
        raise UsageError(
            f"found --dla {dla} for target {record.target}, expected a Jetson's bundle: leave it "
            "out, or compile with --target jetson-orin"
        )
    if record.runtime == "onnxruntime":
        return _nothing_to_build(bundle, record, open_engine)
    check_room(bundle)
    if record.runtime == "tensorrt-rtx":
        return _ahead_of_time(bundle, record, open_engine, track)
    return _on_device(bundle, record, open_engine, here, dla, track)


def build_ahead_of_time(
    graph: Path, target_name: str, precision: str, track: Track = silent
) -> dict[int, Engine]:
    """Compute capability -> engine, for each GPU generation of a TensorRT-RTX target."""
    target = load_target(target_name)
    capabilities = [sm for sm in (target.sm, *target.also_sm) if sm is not None]
    return {
        sm: build_engine(
            target.runtime,
            Order(graph, precision, sm),
            description=f"building {precision} engine for sm_{sm}",
            track=track,
        )
        for sm in capabilities
    }


def _nothing_to_build(
    bundle: Artifact, record: BundleRecord, open_engine: OpenEngine | None
) -> BuildReport:
    remark = "target cpu runs model.onnx as it is: there is no engine to build"
    what = "model.onnx on this machine"
    trial = try_engine(open_engine, bundle, bundle.path, what) if open_engine else None
    if trial:
        check_parity(trial.parity, GATES[record.precision], what)
    return BuildReport(
        str(bundle.path),
        [],
        trial.parity if trial else None,
        trial.latency if trial else None,
        [remark],
    )


def _ahead_of_time(
    bundle: Artifact, record: BundleRecord, open_engine: OpenEngine | None, track: Track
) -> BuildReport:
    built = build_ahead_of_time(bundle.file("model.onnx"), record.target, record.precision, track)
    what = f"the new {record.precision} engine"
    with write_artifact(bundle.path, "bundle", space=bundle.manifest.space) as folder:
        sidecars = {
            sm: write_engine(
                folder,
                engine,
                runtime=record.runtime,
                precision=record.precision,
                sm=sm,
                graph_sha256=record.graph_sha256,
                board=f"built ahead of time on {cpu_name()}",
            )
            for sm, engine in built.items()
        }
        new = list(sidecars.values())
        staged = stage(folder, bundle, record, new)
        trial, remarks = None, []
        try:
            trial = try_engine(open_engine, staged, folder, what) if open_engine else None
        except TargetError as error:
            why = str(error).replace(str(folder), bundle.path.name)
            remarks.append(f"no parity gate: the engine does not run on this machine ({why})")
        if trial:
            check_parity(trial.parity, GATES[record.precision], what)
        return _report(
            folder,
            bundle,
            new,
            trial,
            [*remarks, *(r for engine in built.values() for r in engine.remarks)],
            {sidecars[sm].engine: e.layers for sm, e in built.items() if e.layers},
        )


def _on_device(
    bundle: Artifact,
    record: BundleRecord,
    open_engine: OpenEngine | None,
    here: Here,
    dla: int | None,
    track: Track,
) -> BuildReport:
    """Try the recipe's precisions from the one asked for to the safest."""
    recipe = bundle.read(RECIPE, Recipe)
    site = find_site(bundle, recipe, here, dla)
    refused: dict[str, str] = {}
    errors: list[TargetError | NumericsError] = []
    for step in recipe.steps:
        if dla is not None and step.precision != "fp16":
            continue
        try:
            made = build_step(bundle, recipe, step, site, track)
        except TargetError as error:
            errors.append(error)
            refused[step.precision] = str(error)
            continue
        try:
            return _install(bundle, record, step, site, made, open_engine, refused)
        except NumericsError as error:
            errors.append(error)
            refused[step.precision] = str(error)
    if len(errors) == 1 or isinstance(errors[0], TargetError):
        raise errors[0]
    tried = "; ".join(f"{name}: {why.partition(', expected')[0]}" for name, why in refused.items())
    raise NumericsError(
        f"no engine of {bundle.path} passed its parity gate here ({tried}), expected one: run "
        "edgevpr doctor, and meanwhile use a bundle compiled with --target cpu"
    )


def _install(
    bundle: Artifact,
    record: BundleRecord,
    step: Step,
    site: Site,
    made: Made,
    open_engine: OpenEngine | None,
    refused: dict[str, str],
) -> BuildReport:
    """Put a new engine into the bundle, unless the parity gate raises NumericsError."""
    what = f"the new {step.precision} engine"
    with write_artifact(bundle.path, "bundle", space=bundle.manifest.space) as folder:
        sidecar = write_engine(
            folder,
            made.engine,
            runtime=record.runtime,
            precision=step.precision,
            sm=site.sm,
            graph_sha256=record.graph_sha256,
            board=site.words,
            target=site.here.target,
            jetpack=site.here.jetpack,
            dla=site.dla,
            built_from=made.variant.graph.file,
            built_from_sha256=made.variant.graph.sha256,
        )
        staged = stage(folder, bundle, record, [sidecar])
        trial = None
        if open_engine:
            trial = try_engine(open_engine, staged, folder, what)
            check_parity(trial.parity, step.min_cosine, what)
        remarks = [*site.remarks, *made.engine.remarks]
        remarks += [f"{name} was refused here: {why}" for name, why in refused.items()]
        seen = made.engine.layers
        return _report(
            folder,
            bundle,
            [sidecar],
            trial,
            remarks,
            {sidecar.engine: seen} if seen else {},
            refused=refused,
            fell_back=made.engine.fell_back,
            trtexec=made.trtexec,
            workspace_mib=made.engine.workspace and made.engine.workspace >> 20,
        )


def _report(
    folder: Path,
    bundle: Artifact,
    engines: list[EngineSidecar],
    trial: Trial | None,
    remarks: list[str],
    layers: dict[str, LayerSummary],
    **more: Any,
) -> BuildReport:
    """What was done; written beside each engine too."""
    report = BuildReport(
        bundle=str(bundle.path),
        engines=engines,
        parity=trial.parity if trial else None,
        latency=trial.latency if trial else None,
        remarks=remarks,
        layers=layers,
        **more,
    )
    write_evidence(folder, report)
    return report
