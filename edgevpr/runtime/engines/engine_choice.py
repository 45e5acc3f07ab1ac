"""Choice of a bundle's TensorRT engines for this machine, checked before TensorRT reads them."""

import hashlib
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import BundleRecord, EngineSidecar, GraphRecord
from edgevpr.artifacts.trust import check_engine_trusted
from edgevpr.device.targets import this_board
from edgevpr.errors import CorruptArtifactError, EngineMissingError, TargetError
from edgevpr.printable import shell_word
from edgevpr.runtime.engines.graph_paths import GraphPaths

#: module, and how it is installed.
_LIBRARIES = {
    "tensorrt": (
        "tensorrt",
        "on a Jetson install python3-libnvinfer with apt and pycuda with pip install "
        "'edgevpr[jetson]', on a PC run pip install 'edgevpr[cuda]'",
    ),
    "tensorrt-rtx": ("tensorrt_rtx", "run pip install 'edgevpr[rtx]' pycuda"),
}

#: The way out without a GPU.
ON_CPU = "edgevpr compile MODEL --target cpu"


def load_libraries(runtime: str, bundle: Path) -> tuple[ModuleType, Any]:
    """The TensorRT module and ``pycuda.driver``, initialized, with at least one GPU.

    Raises:
        TargetError: says which is missing, how to get it, and what runs here instead.
    """
    fallback = f"or use a bundle of {ON_CPU}"
    name, install = _LIBRARIES[runtime]
    found: list[Any] = []
    for module in (name, "pycuda.driver"):
        try:
            found.append(importlib.import_module(module))
        except (ImportError, OSError) as error:  # OSError: a library of the driver is missing
            raise TargetError(
                f"found no {module} that can be imported ({first_line(error)}), expected "
                f"{runtime} and pycuda for {bundle}: {install}, {fallback}"
            ) from error
    trt, cuda = found
    try:
        cuda.init()
        count = cuda.Device.count()
    except Exception as error:  # pycuda's errors derive from Exception alone
        raise TargetError(
            f"found that CUDA does not start here ({first_line(error)}), expected an NVIDIA GPU "
            f"for {bundle}: run it on the device it was built for, {fallback}"
        ) from error
    if count == 0:
        raise TargetError(
            f"found no NVIDIA GPU in this machine, expected one for {bundle}: run it on the "
            f"device it was built for, {fallback}"
        )
    return trt, cuda


def check_engine(bundle: Artifact, record: BundleRecord) -> None:
    """Raise EngineMissingError if a bundle lacks an engine for this machine; loads nothing.

    Raises:
        TargetError: this machine has no TensorRT or no GPU.
    """
    trt, cuda = load_libraries(record.runtime, bundle.path)
    for graph in GraphPaths.of(bundle, record).graphs:
        engine_here(bundle, record, trt, cuda.Device(0), graph)


def engine_here(
    bundle: Artifact, record: BundleRecord, trt: ModuleType, gpu: Any, graph: GraphRecord
) -> tuple[EngineSidecar, bytes]:
    """The engine of one of a bundle's graphs for this machine; see ``choose_engine``."""
    major, minor = gpu.compute_capability()
    sm, board = f"sm_{major}{minor}", this_board()
    return choose_engine(bundle, record, trt.__version__, sm, board, graph=graph)


def choose_engine(
    bundle: Artifact,
    record: BundleRecord,
    version: str,
    sm: str,
    board: str = "",
    *,
    graph: GraphRecord | None = None,
) -> tuple[EngineSidecar, bytes]:
    """The engine of a bundle for this TensorRT version, GPU and board, its content checked.

    Engines are not portable between GPU generations, TensorRT builds or Jetson boards: the sidecar
    says what an engine is for, before TensorRT reads it. The bytes returned are those hashed.

    Args:
        board: device profile of this Jetson, the empty string on other machines.
        graph: which of the bundle's graphs, where it has several.

    Raises:
        EngineMissingError: none fits.
        CorruptArtifactError: one fits but is not the file, or not of the graph, it claims, or no
            trusted key has signed it.
    """
    again = f"run edgevpr build {shell_word(bundle.path)} on this machine"
    parts = {each.file for each in record.graphs}
    part = graph.file if graph is not None and graph.file in parts else ""
    there = []
    for name in record.engines:
        stem = Path(name).name.removesuffix(".engine")
        sidecar = bundle.read(f"engines/{stem}.json", EngineSidecar)
        # Built from the graph itself, or from the same in another precision or operator set.
        runs = sidecar.graph or sidecar.built_from
        if (runs if runs in parts else "") != part:
            continue
        there.append(_place(sidecar.runtime, sidecar.version, sidecar.sm, sidecar.target))
        if (sidecar.runtime, sidecar.version, sidecar.sm) != (record.runtime, version, sm):
            continue
        if sidecar.target not in ("", board):
            continue
        path = bundle.file(f"engines/{stem}.engine")
        plan = bundle.bytes(f"engines/{stem}.engine")
        changed = hashlib.sha256(plan).hexdigest() != sidecar.sha256
        if changed or sidecar.engine != path.name:
            raise CorruptArtifactError(
                f"found {path} changed since it was built, expected the engine its sidecar "
                f"describes: {again}"
            )
        source = bundle.manifest.files.get(sidecar.built_from)
        ours = source.sha256 if part and source else ""
        if sidecar.graph_sha256 != record.graph_sha256 or (
            ours and sidecar.built_from_sha256 not in ("", ours)
        ):
            raise CorruptArtifactError(
                f"found {path} built from another graph, expected that of "
                f"{bundle.path / (part or 'model.onnx')}: {again}"
            )
        check_engine_trusted(bundle, stem)
        return sidecar, plan
    found = "engines for " + ", ".join(there) if there else "no engine yet"
    raise EngineMissingError(
        f"found {found}{f' of {part}' if part else ''} in {bundle.path}, expected one for "
        f"{_place(record.runtime, version, sm, board)}: {again}, or use a bundle of {ON_CPU}"
    )


def _place(runtime: str, version: str, sm: str, board: str) -> str:
    return f"{runtime} {version} on {sm}{f' of a {board}' if board else ''}"


def first_line(error: BaseException) -> str:
    """Of an error's message; its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
