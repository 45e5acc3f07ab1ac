"""Builder for TensorRT 8.5 to 11 and TensorRT-RTX: a graph in, engine bytes out.

Needs no package but TensorRT, so that it runs on a board.
Differences between releases are in ``releases.py``; the names used here are checked against the
bindings of each release by a test.
"""

import dataclasses
import functools
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from edgevpr.compile.engine import layer_report as layers
from edgevpr.compile.engine.build_progress import build_with_progress
from edgevpr.compile.engine.compatibility import check_precision, check_release
from edgevpr.compile.engine.layer_report import LayerSummary
from edgevpr.compile.engine.releases import Dialect, advice, dialect_of
from edgevpr.compile.engine.timing_cache import read_timing_cache, write_timing_cache
from edgevpr.errors import ResourceError, TargetError
from edgevpr.optional import require
from edgevpr.progress import Track, silent
from edgevpr.quiet import quiet

MODULES = {"tensorrt": ("tensorrt", "cuda"), "tensorrt-rtx": ("tensorrt_rtx", "rtx")}

#: Workspace: this share of free memory, halved as often as building runs out of it.
WORKSPACE_SHARE = 0.7
WORKSPACE_LEAST = 256 << 20


@dataclass(frozen=True)
class Order:
    """Graph, precision and GPU of one build."""

    graph: Path
    precision: str
    #: compute capability times ten, 89 for sm_89.
    sm: int
    #: nodes that stay in FP32, for releases with layer constraints.
    fp32_nodes: tuple[str, ...] = ()
    #: most bytes of workspace; None leaves it to TensorRT.
    workspace: int | None = None
    #: deep learning accelerator, with the GPU for layers it cannot run; None: GPU alone.
    dla: int | None = None
    #: file with the times of kernels measured before; None: none is kept.
    timing_cache: Path | None = None
    #: content of ``graph`` that was checked, with all its weights: the file is not read then.
    data: bytes | None = None


@dataclass(frozen=True)
class Engine:
    """A serialized engine, and how it was built."""

    data: bytes
    version: str
    flags: list[str]
    seconds: float
    #: warnings and errors that TensorRT gave, without repetitions.
    messages: list[str]
    #: remarks for the user: less workspace, no timing cache.
    remarks: list[str] = field(default_factory=list)
    #: layers of the network that run on the GPU because DLA cannot.
    fell_back: list[str] = field(default_factory=list)
    #: layers by precision; None: this machine cannot inspect the engine.
    layers: LayerSummary | None = None
    workspace: int | None = None


@dataclass(frozen=True)
class _Plan:
    data: bytes
    timing: bytes
    fell_back: list[str]
    layers: LayerSummary | None


def load_tensorrt(runtime: str) -> ModuleType:
    """The module of a runtime.

    Raises:
        TargetError: "tensorrt" is not here; it comes with JetPack, not from pip.
        MissingExtraError: "tensorrt-rtx" is not installed.
    """
    module, extra = MODULES[runtime]
    if runtime == "tensorrt-rtx":
        return require(module, extra=extra)
    try:
        return __import__(module)
    except (ImportError, OSError) as error:
        raise TargetError(
            f"found no TensorRT in this Python ({error}), expected the board's own: run edgevpr "
            "build BUNDLE on the device itself, on a Jetson in a virtual environment made with "
            "--system-site-packages, on a PC after pip install 'edgevpr[cuda]'"
        ) from error


def build_engine(
    runtime: str, order: Order, *, description: str = "building engine", track: Track = silent
) -> Engine:
    """Build a serialized engine; tries less workspace when memory runs out.

    Raises:
        TargetError: an operator or a layer that TensorRT cannot build, named with its node.
        ResourceError: not enough memory even with the smallest workspace.
    """
    trt = load_tensorrt(runtime)
    dialect = dialect_of(runtime, trt.__version__, dla=order.dla is not None)
    check_precision(order.sm, order.precision)
    if runtime == "tensorrt":
        check_release(trt.__version__, order.sm)
    kept = order.timing_cache if dialect.timing_cache else None
    known, remark = read_timing_cache(kept) if kept else (b"", "")
    remarks = [remark] if remark else []
    while True:
        logger = _logger(trt)
        logger.clear()
        started = time.perf_counter()
        plan = _build(trt, dialect, order, known, logger, description, track)
        messages = list(dict.fromkeys(logger.messages))
        if plan is not None:
            if kept and plan.timing != known:
                remark = write_timing_cache(kept, plan.timing)
                remarks += [remark] if remark else []
            return Engine(
                plan.data,
                trt.__version__,
                [*dialect.network_flags, *dialect.builder_flags.get(order.precision, ())],
                time.perf_counter() - started,
                messages,
                remarks,
                plan.fell_back,
                plan.layers,
                order.workspace,
            )
        reason = messages[-1] if messages else "no message"
        if order.workspace is None or "memory" not in " ".join(messages).lower():
            raise TargetError(
                f"found {order.graph.name}, which {runtime} {trt.__version__} cannot build in "
                f"{order.precision} for sm_{order.sm} ({reason}), expected a graph it can: "
                f"{advice(reason)}"
            )
        workspace = order.workspace // 2
        order = dataclasses.replace(order, workspace=workspace)
        remarks.append(f"memory ran out: building with {workspace >> 20} MiB of workspace")
        if workspace < WORKSPACE_LEAST:
            raise ResourceError(
                f"found too little memory to build {order.graph.name} ({reason}), expected "
                f"{WORKSPACE_LEAST >> 20} MiB for the workspace: stop other programs and run "
                "edgevpr build BUNDLE again"
            )


def _build(
    trt: ModuleType,
    dialect: Dialect,
    order: Order,
    known: bytes,
    logger: Any,
    description: str,
    track: Track,
) -> _Plan | None:
    with quiet():
        builder = trt.Builder(logger)
        flags = 0
        for name in dialect.network_flags:
            flags |= 1 << int(getattr(trt.NetworkDefinitionCreationFlag, name))
        network = builder.create_network(flags)
        parser = trt.OnnxParser(network, logger)
        if order.data is None:
            parsed = parser.parse_from_file(str(order.graph))
        else:
            parsed = parser.parse(order.data)
        if not parsed:
            raise TargetError(_parse_error(parser, order.graph, logger))
        config = builder.create_builder_config()
        for name in dialect.builder_flags.get(order.precision, ()):
            config.set_flag(getattr(trt.BuilderFlag, name))
        # Names and types of layers stay in the engine; it runs no slower.
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if order.workspace is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, order.workspace)
        if dialect.ahead_of_time:
            _aim(trt, config, order.sm)
        if dialect.layer_constraints:
            _constrain(trt, network, frozenset(order.fp32_nodes))
        fell_back: list[str] = []
        if order.dla is not None:
            fell_back = _use_dla(trt, builder, network, config, order.dla)
        if dialect.timing_cache:
            _use_timing_cache(config, known)
        if dialect.progress:
            plan = build_with_progress(trt, builder, network, config, description, track)
        else:
            (plan,) = [
                builder.build_serialized_network(network, config)
                for _ in track([None], description, 1)
            ]
        if plan is None:
            return None
        data = bytes(plan)
        timing = _timing_of(config) if dialect.timing_cache else b""
        if dialect.ahead_of_time:
            seen: LayerSummary | None = layers.summarize(layers.from_log(logger.layers))
        else:
            seen = _inspect(trt, logger, data, order.dla)
    return _Plan(data, timing, fell_back, seen)


def _use_dla(trt: ModuleType, builder: Any, network: Any, config: Any, core: int) -> list[str]:
    """Prefer a deep learning accelerator; returns the layers that it cannot run."""
    if core >= builder.num_DLA_cores:
        raise TargetError(
            f"found `dla` {core}, expected one of the {builder.num_DLA_cores} DLA cores of this "
            "device, numbered from 0: leave out `dla` to use the GPU"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    fell_back = []
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.type != trt.LayerType.CONSTANT and not config.can_run_on_DLA(layer):
            fell_back.append(str(layer.name))
    return fell_back


def _use_timing_cache(config: Any, known: bytes) -> None:
    """Start from times measured before; from none where TensorRT refuses those."""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _timing_of(config: Any) -> bytes:
    cache = config.get_timing_cache()
    return b"" if cache is None else bytes(cache.serialize())


def _inspect(trt: ModuleType, logger: Any, data: bytes, dla: int | None) -> LayerSummary | None:
    """The engine inspector's account of bytes that were built in this process."""
    runtime = trt.Runtime(logger)
    if dla is not None:
        runtime.DLA_core = dla
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        return None
    inspector = engine.create_engine_inspector()
    try:
        information = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        return layers.summarize(layers.from_inspector(information))
    except ValueError:  # no JSON: the summary is left out
        return None


def _aim(trt: ModuleType, config: Any, sm: int) -> None:
    """Set the compute capability to build for, which need not be this machine's."""
    capability = getattr(trt.ComputeCapability, f"SM{sm}", None)
    if capability is None:
        known = [name for name in dir(trt.ComputeCapability) if name.startswith("SM")]
        raise TargetError(
            f"found sm_{sm}, which TensorRT-RTX {trt.__version__} cannot build for, expected one "
            f"of {', '.join(known)}: run edgevpr devices to see the targets"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(capability, 0)


def _constrain(trt: ModuleType, network: Any, fp32_nodes: frozenset[str]) -> None:
    """Hold layers to FP32 by name; the parser names a node's layer after the node."""
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.name in fp32_nodes:
            layer.precision = trt.DataType.FLOAT
            for k in range(layer.num_outputs):
                layer.set_output_type(k, trt.DataType.FLOAT)


def _parse_error(parser: Any, graph: Path, logger: Any) -> str:
    """One sentence that names the operator and its node as far as this release knows them."""
    if not parser.num_errors:
        return (
            f"found {graph.name}, which TensorRT cannot read ({logger.messages[-1:]}), expected an "
            "ONNX graph: run edgevpr compile MODEL again"
        )
    error = parser.get_error(0)
    reason = " ".join(str(error.desc()).split())
    # node_operator and node_name came with release 10.
    operator = getattr(error, "node_operator", lambda: "?")()
    node = getattr(error, "node_name", lambda: f"number {error.node()}")()
    return (
        f"found operator {operator} of node {node!r} in {graph.name}, which TensorRT cannot build "
        f"({reason}), expected one it has: replace that layer and run edgevpr compile MODEL again"
    )


@functools.cache
def _logger(trt: ModuleType) -> Any:
    """TensorRT keeps the first logger a process gives it, so there is one per module."""

    class Logger(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []
            self.layers: list[str] = []

        def clear(self) -> None:
            self.messages.clear()
            self.layers.clear()

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
                self.messages.append(" ".join(msg.split()))
            elif msg.startswith("Layers:"):
                self.layers.append(msg)

    return Logger()
