"""Build of a bundle's engines on the machine they will run on, and their parity gate.

A bundle has one graph; with early exits several, and then an engine for each.

A board has TensorRT, pycuda and the bare install: nothing here needs onnx, torch or modelopt.
"""

from pathlib import Path
from typing import Any

import msgspec

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord, EngineSidecar
from edgevpr.artifacts.sign import check_board_key, sign_engine
from edgevpr.compile.engine.builder import Engine, Order, build_engine
from edgevpr.compile.engine.first_run import FirstRun, check_exits, first_run
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
from edgevpr.runtime.engines.onnx_contract import check_graph, check_part


def build_bundle(path: Path, *, dla: int | None = None, track: Track = silent) -> BuildReport:
    """Build the engines of a bundle and put them into it, atomically.

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
    part = "" if graph.name == "model.onnx" else f" of {graph.stem}"
    return {
        sm: build_engine(
            target.runtime,
            Order(graph, precision, sm, data=data),
            description=f"building {precision} engine{part} for sm_{sm}",
            track=track,
        )
        for sm in capabilities
    }


def _nothing_to_build(bundle: Artifact, record: BundleRecord) -> BuildReport:
    """Parity and latency of the graphs, which ONNX Runtime runs as they are."""
    graphs = "its graphs as they are" if record.exits else "model.onnx as it is"
    engine = f"{graphs.partition(' as ')[0]} on this machine"
    run = first_run(bundle, engine)
    check_exits(run, _gates(record), engine)
    remark = f"target cpu runs {graphs}: there is no engine to build"
    report = BuildReport(str(bundle.path), [], run.parity, run.latency, [remark])
    return msgspec.structs.replace(report, exits=run.exits)


def _gates(record: BundleRecord) -> dict[str, float | None]:
    """The gate of each exit, and of the whole path."""
    names = ["full", *(exit.name for exit in record.exits)]
    return dict.fromkeys(names, GATES[record.precision])


def _graphs(bundle: Artifact, record: BundleRecord) -> list[EngineGraph]:
    """Every graph that an engine is built of."""
    if not record.exits:
        return [EngineGraph(record.precision, record.graph_sha256)]
    own = record.graph_sha256
    found = [EngineGraph(g.precision, own, g.file, g.sha256, g.file) for g in record.graphs]
    if "model.onnx" in bundle.manifest.files:
        found.append(EngineGraph(record.precision, own, part="model.onnx"))
    return found


def _built(
    bundle: Artifact, record: BundleRecord, graph: EngineGraph, track: Track
) -> list[tuple[int, Engine]]:
    """Compute capability and engine of one graph, from the bytes that were checked."""
    path, data = bundle.file(graph.file), bundle.bytes(graph.file)
    # Among others, that it names no data outside itself.
    (check_part if record.exits else check_graph)(data, path)
    made = build_ahead_of_time(path, record.target, graph.precision, track, data=data)
    return list(made.items())


def _ahead_of_time(bundle: Artifact, record: BundleRecord, track: Track) -> BuildReport:
    """Engines for the target's GPUs, run here only where this machine can."""
    graphs = _graphs(bundle, record)
    built = [
        (sm, engine, graph)
        for graph in graphs
        for sm, engine in _built(bundle, record, graph, track)
    ]
    name = f"the new {record.precision} engine" + "s" * (len(graphs) > 1)
    with write_artifact(bundle.path, "bundle", space=bundle.manifest.space) as folder:
        new, layers = [], {}
        for sm, engine, graph in built:
            device = EngineDevice(record.runtime, sm, f"built ahead of time on {cpu_name()}")
            sidecar = write_engine(folder, engine, device, graph)
            sign_engine(folder / FOLDER, sidecar)
            new.append(sidecar)
            if engine.layers:
                layers[sidecar.engine] = engine.layers
        staged = stage(folder, bundle, record, new)
        run, remarks = None, []
        try:
            run = first_run(staged, name)
        except TargetError as error:
            reason = str(error).replace(str(folder), bundle.path.name)
            remarks.append(f"no parity gate: the engine does not run on this machine ({reason})")
        if run:
            check_exits(run, _gates(record), name)
        return _report(
            folder,
            bundle,
            new,
            run,
            [*remarks, *(r for _, engine, _ in built for r in engine.remarks)],
            layers=layers,
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
    built: dict[str, BuiltEngine],
    refused: dict[str, str],
) -> BuildReport:
    """Put new engines into the bundle, unless the parity gate raises NumericsError."""
    name = f"the new {step.precision} engine" + "s" * (len(built) > 1)
    where = EngineDevice(
        record.runtime,
        device.gpu.sm,
        device.name,
        device.target,
        device.board.jetpack if device.board else "",
        device.dla,
    )
    with write_artifact(bundle.path, "bundle", space=bundle.manifest.space) as folder:
        new, layers = [], {}
        for file, one in built.items():
            graph = EngineGraph(
                step.builds[file].precision,
                record.graph_sha256,
                one.variant.graph.file,
                one.variant.graph.sha256,
                file if record.exits else "",
            )
            sidecar = write_engine(folder, one.engine, where, graph)
            sign_engine(folder / FOLDER, sidecar)
            new.append(sidecar)
            if one.engine.layers:
                layers[sidecar.engine] = one.engine.layers
        run = first_run(stage(folder, bundle, record, new), name)
        check_exits(run, step.min_cosines or {"full": step.min_cosine}, name)
        engines = [one.engine for one in built.values()]
        remarks = [*device.remarks, *(r for engine in engines for r in engine.remarks)]
        remarks += [f"{name} was refused here: {why}" for name, why in refused.items()]
        least = min((e.workspace for e in engines if e.workspace), default=None)
        return _report(
            folder,
            bundle,
            new,
            run,
            remarks,
            layers=layers,
            refused=refused,
            fell_back=[layer for engine in engines for layer in engine.fell_back],
            trtexec=" && ".join(one.trtexec for one in built.values()),
            workspace_mib=least and least >> 20,
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
        exits=run.exits if run else {},
        remarks=remarks,
        layers=layers,
        **more,
    )
    write_evidence(folder, report)
    return report
