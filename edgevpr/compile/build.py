"""``edgevpr build``: the engine of a bundle, built where it will run.

On a board with TensorRT alone: nothing here needs onnx, torch or modelopt.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr import artifact
from edgevpr.artifact import Artifact, FileEntry, Manifest
from edgevpr.compile.builder import Engine, Order, build_engine, free_memory, load_tensorrt
from edgevpr.compile.dialects import dialect_of
from edgevpr.compile.engines import write_engine
from edgevpr.compile.host import cpu_name
from edgevpr.compile.parity import Parity, check_finite, compare, gate
from edgevpr.compile.recipe import RECIPE, Recipe, variant_for
from edgevpr.errors import ResourceError, TargetError
from edgevpr.optional import require
from edgevpr.progress import Track, silent
from edgevpr.records import BundleRecord, EngineSidecar
from edgevpr.targets import load_target

#: Runs a bundle's engine: (bundle, (n, H, W, 3) uint8) -> (n, d) float32.
Describe = Callable[[Artifact, NDArray[np.uint8]], NDArray[np.float32]]


class BuildReport(msgspec.Struct, frozen=True):
    """What ``edgevpr build`` did."""

    bundle: str
    engines: list[EngineSidecar]
    #: golden inputs through the new engine against golden descriptors; None: not run, and why.
    parity: Parity | None
    remarks: list[str]


def build_bundle(
    path: Path, *, describe: Describe | None = None, track: Track = silent
) -> BuildReport:
    """Build the engine of a bundle and put it into the bundle, atomically.

    Args:
        describe: runs the new engine for the parity gate; without it there is none.

    Raises:
        TargetError: this machine cannot build it.
        ResourceError: disk, memory, or a bundle that is not writable.
        NumericsError: the new engine failed its parity gate; the bundle is as it was.
    """
    bundle = artifact.open_artifact(path, "bundle")
    record = bundle.read("bundle.json", BundleRecord)
    if record.runtime == "onnxruntime":
        remark = "target cpu runs model.onnx as it is: there is no engine to build"
        return BuildReport(str(path), [], None, [remark])
    _check_room(bundle)
    build = _rebuild_ahead_of_time if record.runtime == "tensorrt-rtx" else _build_on_device
    engines, board = build(bundle, record, track)
    with artifact.create(path, "bundle", space=bundle.manifest.space) as folder:
        for name in bundle.manifest.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.file(name), folder / name)
        sidecars = [
            write_engine(
                folder,
                engine,
                runtime=record.runtime,
                precision=record.precision,
                sm=sm,
                graph_sha256=record.graph_sha256,
                board=board,
            )
            for sm, engine in engines.items()
        ]
        names = dict.fromkeys([*record.engines, *(s.engine for s in sidecars)])
        record = msgspec.structs.replace(record, engines=list(names))
        artifact.write_json(folder / "bundle.json", record)
        parity, remarks = None, []
        if record.runtime == "tensorrt-rtx":
            remarks.append("no parity gate: built ahead of time, run it on its GPU to see parity")
        elif describe is not None:
            parity, remarks = _judge(folder, bundle, record, describe)
    return BuildReport(str(path), sidecars, parity, remarks)


def _rebuild_ahead_of_time(
    bundle: Artifact, record: BundleRecord, track: Track
) -> tuple[dict[int, Engine], str]:
    return build_ahead_of_time(
        bundle.file("model.onnx"), record.target, record.precision, track
    ), f"built ahead of time on {cpu_name()}"


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


def _build_on_device(
    bundle: Artifact, record: BundleRecord, track: Track
) -> tuple[dict[int, Engine], str]:
    recipe = bundle.read(RECIPE, Recipe)
    trt = load_tensorrt(record.runtime)
    variant = variant_for(recipe, dialect_of(record.runtime, trt.__version__))
    sm, gpu = _gpu()
    if recipe.sm is not None and sm != recipe.sm:
        raise TargetError(
            f"{bundle.path} is for {recipe.target} (sm_{recipe.sm}), this GPU is {gpu} (sm_{sm}): "
            "run edgevpr build on such a board, or compile with --target cuda for this GPU"
        )
    order = Order(
        bundle.file(variant.graph.file),
        record.precision,
        sm,
        tuple(recipe.fp32_nodes),
        int(free_memory() * recipe.workspace_share),
    )
    description = f"building {record.precision} engine for {gpu}"
    return {sm: build_engine(record.runtime, order, description=description, track=track)}, gpu


def _gpu() -> tuple[int, str]:
    """Compute capability times ten and name of the first GPU."""
    cuda: Any = require("pycuda.driver", extra="jetson")
    try:
        cuda.init()
        device = cuda.Device(0)
    except Exception as error:  # pycuda's errors derive from Exception alone
        raise TargetError(
            f"found no working NVIDIA GPU ({error}), expected one to build for: run edgevpr build "
            "on the device itself"
        ) from error
    major, minor = device.compute_capability()
    return 10 * major + minor, str(device.name())


def _judge(
    folder: Path, bundle: Artifact, record: BundleRecord, describe: Describe
) -> tuple[Parity, list[str]]:
    """The parity gate, on the bundle as it stands before it takes the old one's place."""
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    files = {
        name: FileEntry((folder / name).stat().st_size, artifact.sha256_file(folder / name))
        for name in names
    }
    old = bundle.manifest
    staged = Artifact(folder, Manifest(old.format, old.kind, old.creator, old.space, files))
    images = np.load(folder / "golden_inputs.npy", allow_pickle=False)
    expected = np.load(folder / "golden_descriptors.npy", allow_pickle=False)
    found = describe(staged, images)
    check_finite(found, f"the new {record.precision} engine")
    parity = compare(found, expected)
    return parity, gate(parity, record.precision)


def _check_room(bundle: Artifact) -> None:
    """Refuse before minutes of building what could not be written afterwards."""
    parent = bundle.path.resolve().parent
    if not os.access(parent, os.W_OK):
        raise ResourceError(
            f"{parent} is not writable by this user, expected to put the engine there: copy the "
            "bundle to a folder of your own and run edgevpr build again"
        )
    size = sum(entry.size for entry in bundle.manifest.files.values())
    need, free = 2 * size + (64 << 20), shutil.disk_usage(parent).free
    if free < need:
        raise ResourceError(
            f"{parent} has {free >> 20} MiB free, expected {need >> 20} MiB for the bundle with "
            "its engine: free some and run edgevpr build again"
        )
