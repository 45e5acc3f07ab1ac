"""``edgevpr compile``: from an exported graph to a bundle for one target, with its evidence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import onnx

from edgevpr.compile.engine.build_engine import build_ahead_of_time
from edgevpr.compile.engine.sidecars import write_engine
from edgevpr.compile.options import Precision
from edgevpr.compile.precision.typed import Typed
from edgevpr.device.cpu import cpu_name
from edgevpr.device.targets import Target
from edgevpr.progress import Track

#: Golden images kept in the bundle.
GOLDEN = 8


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
