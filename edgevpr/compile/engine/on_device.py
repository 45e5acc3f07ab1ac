"""Builds on a device with a GPU: inspection of the device, and one engine of one precision."""

import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgevpr.artifacts.manifest import Artifact
from edgevpr.compile.engine.builder import Engine, Order, build_engine, load_tensorrt
from edgevpr.compile.engine.compatibility import check_dla, check_release
from edgevpr.compile.engine.preflight import check_cache, check_memory, size_of
from edgevpr.compile.engine.recipe import BuildStep, Graph, GraphBuild, Recipe, Variant, variant_for
from edgevpr.compile.engine.releases import Dialect, dialect_of
from edgevpr.compile.engine.timing_cache import timing_cache_file
from edgevpr.device.board import Board
from edgevpr.device.cpu import free_memory
from edgevpr.device.gpu import Gpu, find_gpus
from edgevpr.errors import CorruptArtifactError, TargetError
from edgevpr.optional import require
from edgevpr.printable import shell_word
from edgevpr.progress import Track


@dataclass(frozen=True)
class BuildDevice:
    """This device, as far as a build depends on it."""

    #: None on anything but a Jetson.
    board: Board | None
    gpu: Gpu
    #: bytes, of which the builder may use a share as workspace.
    memory: int
    #: of TensorRT.
    version: str
    dialect: Dialect
    dla: int | None
    remarks: list[str]

    @property
    def target(self) -> str:
        """Device profile of the Jetson; '' elsewhere."""
        return self.board.target if self.board else ""

    @property
    def name(self) -> str:
        """Board or GPU in words."""
        return (self.board and self.board.model) or self.gpu.name


@dataclass(frozen=True)
class BuiltEngine:
    """An engine, and the recipe's variant it was built by."""

    engine: Engine
    variant: Variant
    #: the same build as a trtexec command.
    trtexec: str


def inspect_device(
    bundle: Artifact, recipe: Recipe, board: Board | None, dla: int | None
) -> BuildDevice:
    """Inspect this device, and refuse builds that cannot work on it before they start.

    Raises:
        TargetError: no TensorRT, no GPU, or a pair of them, or of the bundle and them, without a
            way to build.
    """
    target = board.target if board else ""
    precisions = [step.precision for step in recipe.steps]
    precision = "fp16" if dla is not None and "fp16" in precisions else recipe.precision
    if dla is not None:
        check_dla(dla, precision, target, "")
    trt = load_tensorrt(recipe.runtime)
    version = str(trt.__version__)
    if dla is not None:
        check_dla(dla, precision, target, version)
    dialect = dialect_of(recipe.runtime, version, dla=dla is not None)
    gpu = first_gpu()
    if recipe.sm is not None and gpu.sm != recipe.sm:
        raise TargetError(
            f"found {gpu.name} (sm_{gpu.sm}), expected {recipe.target} (sm_{recipe.sm}) for "
            f"{bundle.path}: run edgevpr build {shell_word(bundle.path)} on such a board, or "
            "edgevpr compile MODEL --target cuda for this GPU"
        )
    check_release(version, gpu.sm)
    remark = check_cache()
    # A Jetson's GPU has the processor's memory, of which other programs have taken some.
    memory = free_memory() if target else gpu.memory_bytes
    return BuildDevice(board, gpu, memory, version, dialect, dla, [remark] if remark else [])


def build_step(
    bundle: Artifact, recipe: Recipe, step: BuildStep, device: BuildDevice, track: Track
) -> dict[str, BuiltEngine]:
    """Build one precision of the recipe: an engine for each of the bundle's graphs, by file.

    Raises:
        TargetError: TensorRT cannot build a graph, or not in this precision.
        ResourceError: not enough memory.
    """
    builds = step.builds
    variants = {file: variant_for(build, device.dialect) for file, build in builds.items()}
    check_memory(max(size_of(bundle, bundle.file(v.graph.file)) for v in variants.values()))
    return {
        file: _build_one(bundle, recipe, builds[file], variant, device, track)
        for file, variant in variants.items()
    }


def _build_one(
    bundle: Artifact,
    recipe: Recipe,
    build: GraphBuild,
    variant: Variant,
    device: BuildDevice,
    track: Track,
) -> BuiltEngine:
    with tempfile.TemporaryDirectory(prefix="edgevpr-") as own:
        graph = _own_copy(bundle, variant.graph, Path(own))
        order = _order(graph, recipe, build, device)
        part = "" if graph.parent == Path(own) else f" of {graph.stem}"
        description = f"building {build.precision} engine{part} for {device.name}"
        engine = build_engine(recipe.runtime, order, description=description, track=track)
    return BuiltEngine(engine, variant, _by_hand(variant, engine, device.dla))


def _own_copy(bundle: Artifact, graph: Graph, folder: Path) -> Path:
    """The graph and the weights it may share with others, copied from the files that were
    hashed: TensorRT reads paths, and what is at those of the bundle may have been replaced."""
    if bundle.manifest.files[graph.file].sha256 != graph.sha256:
        raise CorruptArtifactError(
            f"found another {graph.file} in {bundle.path} than its recipe names, expected that of "
            f"SHA-256 {graph.sha256[:12]}: write the bundle again with edgevpr compile"
        )
    weights = (Path(graph.file).parent / "weights.bin").as_posix()
    for name in {graph.file, weights} & bundle.manifest.files.keys():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(bundle.held(name), folder / name)
    return folder / graph.file


def _order(graph: Path, recipe: Recipe, build: GraphBuild, device: BuildDevice) -> Order:
    return Order(
        graph,
        build.precision,
        device.gpu.sm,
        tuple(build.fp32_nodes),
        int(device.memory * recipe.workspace_share),
        device.dla,
        timing_cache_file(device.target or device.gpu.name, device.gpu.sm, device.version),
    )


def first_gpu() -> Gpu:
    """The first GPU of this machine.

    Raises:
        TargetError: there is none.
        MissingExtraError: pycuda, which runs the finished engine, is not installed.
    """
    gpus, reason = find_gpus()
    if not gpus:
        raise TargetError(
            f"found no working NVIDIA GPU ({reason}), expected one to build for: run edgevpr build "
            "BUNDLE on the device itself"
        )
    require("pycuda.driver", extra="jetson")
    return gpus[0]


def _by_hand(variant: Variant, engine: Engine, dla: int | None) -> str:
    """The variant's trtexec line with this build's numbers in it."""
    words = []
    for word in shlex.split(variant.trtexec):
        own = "my" if variant.graph.file.startswith("model") else Path(variant.graph.file).stem
        filled = word.replace("=ENGINE", f"={own}.engine")
        if engine.workspace is not None:
            filled = filled.replace("MEM_MIB", str(engine.workspace >> 20))
        words.append(filled.replace("--useDLACore=DLA", f"--useDLACore={dla}"))
    return shlex.join(words)
