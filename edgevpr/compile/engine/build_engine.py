"""Build of a bundle's engine on the machine it will run on, and its parity gate.

A board has TensorRT, pycuda and the bare install: nothing here needs onnx, torch or modelopt.
"""

from pathlib import Path
from typing import Any

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.artifacts.sign import check_board_key, sign_engine
from edgevpr.compile.engine.builder import Engine, Order, build_engine
from edgevpr.compile.engine.first_run import FirstRun, check_parity, first_run
from edgevpr.compile.engine.layer_report import LayerSummary
from edgevpr.compile.engine.on_device import (
    BuildDevice,
    BuiltEngine,
    build_step,
    inspect_device,
)
from edgevpr.compile.engine.parity import GATES
from edgevpr.compile.engine.preflight import check_room
from edgevpr.compile.engine.recipe import RECIPE, BuildStep, Recipe
from edgevpr.compile.engine.sidecars import (
    FOLDER,
    BuildReport,
    EngineDevice,
    EngineGraph,
    stage,
    write_engine,
    write_evidence,
)
from edgevpr.device.board import read_board
from edgevpr.device.cpu import cpu_name
from edgevpr.device.targets import load_target
from edgevpr.errors import NumericsError, TargetError, UsageError
from edgevpr.progress import Track, silent
from edgevpr.runtime.engines.onnx_contract import check_graph


def build_bundle(path: Path, *, dla: int | None = None, track: Track = silent) -> BuildReport:
    """Build the engine of a bundle and put it into the bundle, atomically.

    Args:
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
            f"found `dla` {dla} for target {record.target}, expected a Jetson's bundle: leave it "
            "out, or run edgevpr compile MODEL --target jetson-orin"
        )
    if record.runtime == "onnxruntime":
        return _nothing_to_build(bundle, record)
    check_room(bundle)
    check_board_key()
    if record.runtime == "tensorrt-rtx":
        return _ahead_of_time(bundle, record, track)
    return _on_device(bundle, record, dla, track)


def build_ahead_of_time(
    graph: Path,
    target_name: str,
    precision: str,
    track: Track = silent,
    *,
    data: bytes | None = None,
) -> dict[int, Engine]:
    """Compute capability -> engine, for each GPU generation of a TensorRT-RTX target.

    Args:
        data: content of ``graph`` that was checked; the file is read without it.
    """
    target = load_target(target_name)
    capabilities = [sm for sm in (target.sm, *target.also_sm) if sm is not None]
    return {
        sm: build_engine(
            target.runtime,
            Order(graph, precision, sm, data=data),
            description=f"building {precision} engine for sm_{sm}",
            track=track,
        )
        for sm in capabilities
    }


def _nothing_to_build(bundle: Artifact, record: BundleRecord) -> BuildReport:
    """Parity and latency of ``model.onnx``, which ONNX Runtime runs as it is."""
    engine = "model.onnx on this machine"
    run = first_run(bundle, engine)
    check_parity(run.parity, GATES[record.precision], engine)
    remark = "target cpu runs model.onnx as it is: there is no engine to build"
    return BuildReport(str(bundle.path), [], run.parity, run.latency, [remark])


def _ahead_of_time(bundle: Artifact, record: BundleRecord, track: Track) -> BuildReport:
    """Engines for the target's GPUs, run here only where this machine can."""
    graph, data = bundle.file("model.onnx"), bundle.bytes("model.onnx")
    check_graph(data, graph)  # among others that it names no data outside itself
    built = build_ahead_of_time(graph, record.target, record.precision, track, data=data)
    name = f"the new {record.precision} engine"
    of_graph = EngineGraph(record.precision, record.graph_sha256)
    with write_artifact(bundle.path, "bundle", space=bundle.manifest.space) as folder:
        sidecars = {}
        for sm, engine in built.items():
            device = EngineDevice(record.runtime, sm, f"built ahead of time on {cpu_name()}")
            sidecars[sm] = write_engine(folder, engine, device, of_graph)
            sign_engine(folder / FOLDER, sidecars[sm])
        new = list(sidecars.values())
        staged = stage(folder, bundle, record, new)
        run, remarks = None, []
        try:
            run = first_run(staged, name)
        except TargetError as error:
            reason = str(error).replace(str(folder), bundle.path.name)
            remarks.append(f"no parity gate: the engine does not run on this machine ({reason})")
        if run:
            check_parity(run.parity, GATES[record.precision], name)
        return _report(
            folder,
            bundle,
            new,
            run,
            [*remarks, *(r for engine in built.values() for r in engine.remarks)],
            layers={sidecars[sm].engine: e.layers for sm, e in built.items() if e.layers},
        )


def _on_device(
    bundle: Artifact, record: BundleRecord, dla: int | None, track: Track
) -> BuildReport:
    """Try the recipe's precisions from the one asked for to the safest."""
    recipe = bundle.read(RECIPE, Recipe)
    device = inspect_device(bundle, recipe, read_board(), dla)
    refused: dict[str, str] = {}
    errors: list[TargetError | NumericsError] = []
    for step in recipe.steps:
        if dla is not None and step.precision != "fp16":
            continue
        try:
            built = build_step(bundle, recipe, step, device, track)
        except TargetError as error:
            errors.append(error)
            refused[step.precision] = str(error)
            continue
        try:
            return _install(bundle, record, step, device, built, refused)
        except NumericsError as error:
            errors.append(error)
            refused[step.precision] = str(error)
    if len(errors) == 1 or isinstance(errors[0], TargetError):
        raise errors[0]
    tried = "; ".join(f"{name}: {why.partition(', expected')[0]}" for name, why in refused.items())
    raise NumericsError(
        f"found no engine of {bundle.path} that passes its parity gate here ({tried}), expected "
        "one: run edgevpr doctor, and meanwhile edgevpr compile MODEL --target cpu"
    )


def _install(
    bundle: Artifact,
    record: BundleRecord,
    step: BuildStep,
    device: BuildDevice,
    built: BuiltEngine,
    refused: dict[str, str],
) -> BuildReport:
    """Put a new engine into the bundle, unless the parity gate raises NumericsError."""
    name, engine = f"the new {step.precision} engine", built.engine
    with write_artifact(bundle.path, "bundle", space=bundle.manifest.space) as folder:
        sidecar = write_engine(
            folder,
            engine,
            EngineDevice(
                record.runtime,
                device.gpu.sm,
                device.name,
                device.target,
                device.board.jetpack if device.board else "",
                device.dla,
            ),
            EngineGraph(
                step.precision,
                record.graph_sha256,
                built.variant.graph.file,
                built.variant.graph.sha256,
            ),
        )
        sign_engine(folder / FOLDER, sidecar)
        run = first_run(stage(folder, bundle, record, [sidecar]), name)
        check_parity(run.parity, step.min_cosine, name)
        remarks = [*device.remarks, *engine.remarks]
        remarks += [f"{name} was refused here: {why}" for name, why in refused.items()]
        return _report(
            folder,
            bundle,
            [sidecar],
            run,
            remarks,
            layers={sidecar.engine: engine.layers} if engine.layers else {},
            refused=refused,
            fell_back=engine.fell_back,
            trtexec=built.trtexec,
            workspace_mib=engine.workspace and engine.workspace >> 20,
        )


def _report(
    folder: Path,
    bundle: Artifact,
    engines: list[EngineSidecar],
    run: FirstRun | None,
    remarks: list[str],
    *,
    layers: dict[str, LayerSummary],
    **more: Any,
) -> BuildReport:
    """The report of a build, written beside each engine too."""
    report = BuildReport(
        bundle=str(bundle.path),
        engines=engines,
        parity=run.parity if run else None,
        latency=run.latency if run else None,
        remarks=remarks,
        layers=layers,
        **more,
    )
    write_evidence(folder, report)
    return report
