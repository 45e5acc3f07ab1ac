"""One builder for TensorRT 8.5 to 11 and TensorRT-RTX: a graph in, engine bytes out.

Needs the TensorRT module and nothing else of this room's packages, so that it runs on a board.
What differs between releases is in ``dialects.py``; the names used here are checked against the
bindings of each release by a test.
"""

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from edgevpr.compile.dialects import Dialect, advice, check_possible, dialect_of
from edgevpr.compile.monitor import build_with_progress
from edgevpr.compile.quiet import quiet
from edgevpr.errors import ResourceError, TargetError
from edgevpr.optional import require
from edgevpr.progress import Track, silent

MODULES = {"tensorrt": ("tensorrt", "cuda"), "tensorrt-rtx": ("tensorrt_rtx", "rtx")}

#: Workspace: this share of free memory, halved as often as building runs out of it.
WORKSPACE_SHARE = 0.7
WORKSPACE_LEAST = 256 << 20


@dataclass(frozen=True)
class Order:
    """What to build."""

    graph: Path
    precision: str
    #: compute capability times ten, 89 for sm_89.
    sm: int
    #: nodes that stay in FP32, for releases that are told so layer by layer.
    fp32_nodes: tuple[str, ...] = ()
    #: most bytes of workspace; None leaves it to TensorRT.
    workspace: int | None = None


@dataclass(frozen=True)
class Engine:
    """What was built, and how."""

    data: bytes
    version: str
    flags: list[str]
    seconds: float
    #: warnings and errors that TensorRT gave, without repetitions.
    messages: list[str]


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
            "build on the device itself, on a Jetson in a virtual environment made with "
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
    dialect = dialect_of(runtime, trt.__version__)
    if runtime == "tensorrt":
        check_possible(trt.__version__, order.sm)
    workspace = order.workspace
    while True:
        logger = _logger(trt)
        logger.messages.clear()
        started = time.perf_counter()
        data = _build(trt, dialect, order, workspace, logger, description, track)
        messages = list(dict.fromkeys(logger.messages))
        if data is not None:
            flags = [*dialect.network_flags, *dialect.builder_flags.get(order.precision, ())]
            seconds = time.perf_counter() - started
            return Engine(data, trt.__version__, flags, seconds, messages)
        reason = messages[-1] if messages else "no message"
        if workspace is None or "memory" not in " ".join(messages).lower():
            raise TargetError(
                f"{runtime} {trt.__version__} cannot build {order.graph.name} in "
                f"{order.precision} for sm_{order.sm} ({reason}): {advice(reason)}"
            )
        workspace //= 2
        if workspace < WORKSPACE_LEAST:
            raise ResourceError(
                f"memory ran out while building {order.graph.name} ({reason}), expected "
                f"{WORKSPACE_LEAST >> 20} MiB for the workspace: stop other programs and run "
                "edgevpr build again"
            )


def free_memory() -> int:
    """Bytes of memory available now; a Jetson's GPU shares them."""
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key == "MemAvailable":
            return int(value.split()[0]) << 10
    return 1 << 30


def _build(
    trt: ModuleType,
    dialect: Dialect,
    order: Order,
    workspace: int | None,
    logger: Any,
    description: str,
    track: Track,
) -> bytes | None:
    with quiet():
        builder = trt.Builder(logger)
        flags = 0
        for name in dialect.network_flags:
            flags |= 1 << int(getattr(trt.NetworkDefinitionCreationFlag, name))
        network = builder.create_network(flags)
        parser = trt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(order.graph)):
            raise TargetError(_parse_error(parser, order.graph, logger))
        config = builder.create_builder_config()
        for name in dialect.builder_flags.get(order.precision, ()):
            config.set_flag(getattr(trt.BuilderFlag, name))
        if workspace is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
        if dialect.ahead_of_time:
            _aim(trt, config, order.sm)
        if dialect.layer_constraints:
            _constrain(trt, network, frozenset(order.fp32_nodes))
        if dialect.progress:
            plan = build_with_progress(trt, builder, network, config, description, track)
        else:
            (plan,) = [
                builder.build_serialized_network(network, config)
                for _ in track([None], description, 1)
            ]
    return None if plan is None else bytes(plan)


def _aim(trt: ModuleType, config: Any, sm: int) -> None:
    """Build for a GPU that need not be here."""
    capability = getattr(trt.ComputeCapability, f"SM{sm}", None)
    if capability is None:
        known = [name for name in dir(trt.ComputeCapability) if name.startswith("SM")]
        raise TargetError(
            f"TensorRT-RTX {trt.__version__} cannot build for sm_{sm}, expected one of "
            f"{', '.join(known)}: run edgevpr devices to see the targets"
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
        return f"TensorRT cannot read {graph.name} ({logger.messages[-1:]}): compile it again"
    error = parser.get_error(0)
    what = " ".join(str(error.desc()).split())
    # node_operator and node_name came with release 10.
    operator = getattr(error, "node_operator", lambda: "?")()
    node = getattr(error, "node_name", lambda: f"number {error.node()}")()
    return (
        f"TensorRT cannot build operator {operator} of node {node!r} in {graph.name} ({what}): "
        "replace that layer and compile again"
    )


@functools.cache
def _logger(trt: ModuleType) -> Any:
    """TensorRT keeps the first logger a process gives it, so there is one per module."""

    class Logger(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
                self.messages.append(" ".join(msg.split()))

    return Logger()
