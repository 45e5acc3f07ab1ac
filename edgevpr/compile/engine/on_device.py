"""Building on a device with a GPU: what is there, and one engine of one precision for it."""

import shlex
from dataclasses import dataclass
from typing import Any

from edgevpr.artifacts.manifest import Artifact
from edgevpr.compile.engine.builder import Engine, Order, build_engine, load_tensorrt
from edgevpr.compile.engine.compatibility import check_dla, check_possible
from edgevpr.compile.engine.preflight import check_cache, check_memory, size_of
from edgevpr.compile.engine.recipe import Recipe, Step, Variant, variant_for
from edgevpr.compile.engine.releases import Dialect, dialect_of
from edgevpr.compile.engine.timing_cache import timing_cache_file
from edgevpr.device.cpu import Here, free_memory
from edgevpr.errors import TargetError
from edgevpr.optional import require
from edgevpr.progress import Track


@dataclass(frozen=True)
class Site:
    """The device that is built for, which is this one."""

    here: Here
    sm: int
    gpu: str
    #: bytes the builder may use as workspace are a share of these.
    memory: int
    #: of TensorRT.
    version: str
    dialect: Dialect
    dla: int | None
    remarks: list[str]

    @property
    def words(self) -> str:
        """Board or GPU, for people."""
        return self.here.model or self.gpu


@dataclass(frozen=True)
class Made:
    """An engine, and what it was made from."""

    engine: Engine
    variant: Variant
    trtexec: str


def find_site(bundle: Artifact, recipe: Recipe, here: Here, dla: int | None) -> Site:
    """Look at this device, and refuse what cannot be built on it before work starts.

    Raises:
        TargetError: no TensorRT, no GPU, or a pair of them, or of the bundle and them, without a
            way to build; says what would work.
    """
    precisions = [step.precision for step in recipe.steps]
    precision = "fp16" if dla is not None and "fp16" in precisions else recipe.precision
    if dla is not None:
        check_dla(dla, precision, here.target, "")
    trt = load_tensorrt(recipe.runtime)
    version = str(trt.__version__)
    if dla is not None:
        check_dla(dla, precision, here.target, version)
    dialect = dialect_of(recipe.runtime, version, dla=dla is not None)
    sm, gpu, memory = find_gpu()
    if recipe.sm is not None and sm != recipe.sm:
        raise TargetError(
            f"{bundle.path} is for {recipe.target} (sm_{recipe.sm}), this GPU is {gpu} (sm_{sm}): "
            "run edgevpr build on such a board, or compile with --target cuda for this GPU"
        )
    check_possible(version, sm)
    remark = check_cache()
    # A Jetson's GPU has the processor's memory, of which others have taken some.
    memory = free_memory() if here.target else memory
    return Site(here, sm, gpu, memory, version, dialect, dla, [remark] if remark else [])


def build_step(bundle: Artifact, recipe: Recipe, step: Step, site: Site, track: Track) -> Made:
    """Build one precision of the recipe.

    Raises:
        TargetError: TensorRT cannot build this graph, or not in this precision.
        ResourceError: not enough memory.
    """
    variant = variant_for(step, site.dialect)
    graph = bundle.file(variant.graph.file)
    check_memory(size_of(bundle, graph))
    board = site.here.target or site.gpu
    order = Order(
        graph,
        step.precision,
        site.sm,
        tuple(step.fp32_nodes),
        int(site.memory * recipe.workspace_share),
        site.dla,
        timing_cache_file(board, site.sm, site.version),
    )
    description = f"building {step.precision} engine for {site.words}"
    engine = build_engine(recipe.runtime, order, description=description, track=track)
    return Made(engine, variant, _by_hand(variant, engine, site.dla))


def find_gpu() -> tuple[int, str, int]:
    """Compute capability times ten, name and bytes of memory of the first GPU."""
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
    return 10 * major + minor, str(device.name()), int(device.total_memory())


def _by_hand(variant: Variant, engine: Engine, dla: int | None) -> str:
    """The variant's trtexec line with this build's numbers in it."""
    words = []
    for word in shlex.split(variant.trtexec):
        filled = word.replace("=ENGINE", "=my.engine")
        if engine.workspace is not None:
            filled = filled.replace("MEM_MIB", str(engine.workspace >> 20))
        words.append(filled.replace("--useDLACore=DLA", f"--useDLACore={dla}"))
    return shlex.join(words)
