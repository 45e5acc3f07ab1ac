"""Recipe of a bundle, ``recipe.json``: the build of its engine for each TensorRT release.

The compile machine writes it, ``edgevpr build`` on the board follows it, and the trtexec lines in
it do the same by hand. Its steps go from the precision asked for to ever safer ones: a board whose
engine fails the parity gate takes the next.
"""

import shlex

import msgspec

from edgevpr.compile.engine.builder import WORKSPACE_LEAST, WORKSPACE_SHARE
from edgevpr.compile.engine.parity import GATES
from edgevpr.compile.engine.releases import DIALECTS, DLA_DIALECTS, Dialect
from edgevpr.device.targets import Target
from edgevpr.errors import TargetError

RECIPE = "recipe.json"
#: Precision asked for -> precisions to try, the safest last.
SAFER = {"int8": ("int8", "fp16", "fp32"), "fp16": ("fp16", "fp32"), "fp32": ("fp32",)}
#: INT8 has no absolute gate, since only recall can judge it; but an engine must not be further
#: from FP32 than the same graph was on the compile machine, beyond the differences of rounding.
INT8_SLACK = 0.02


class Graph(msgspec.Struct, frozen=True):
    """A graph file of the bundle."""

    file: str
    sha256: str


class Variant(msgspec.Struct, frozen=True):
    """How one range of TensorRT releases builds the engine."""

    #: for example ``>=10.0,<11.0``.
    versions: str
    graph: Graph
    network_flags: list[str]
    builder_flags: list[str]
    #: the same by hand, run inside the bundle; fill in MEM_MIB and ENGINE, and DLA where it stands.
    trtexec: str
    #: for a deep learning accelerator, with the GPU for layers it cannot run.
    dla: bool = False


class GraphBuild(msgspec.Struct, frozen=True):
    """How one graph of a bundle with early exits is built."""

    #: the graph's own, which a search may have set.
    precision: str
    variants: list[Variant]
    #: nodes held in FP32 by releases with layer constraints.
    fp32_nodes: list[str]


class BuildStep(msgspec.Struct, frozen=True):
    """One precision to try."""

    precision: str
    #: least cosine of any golden image for the engine to be accepted; None: numbers are enough.
    min_cosine: float | None
    variants: list[Variant]
    #: nodes held in FP32 by releases with layer constraints.
    fp32_nodes: list[str]
    #: of a bundle with early exits, in place of ``variants``: each of its graphs, by file.
    graphs: dict[str, GraphBuild] = {}
    #: least cosine of each exit.
    min_cosines: dict[str, float | None] = {}

    @property
    def builds(self) -> dict[str, GraphBuild]:
        """Every graph to build, by file; the single graph of a bundle without exits too."""
        if self.graphs:
            return self.graphs
        return {"model.onnx": GraphBuild(self.precision, self.variants, self.fp32_nodes)}


class Recipe(msgspec.Struct, frozen=True):
    """Steps of a build on a board, and the gates that its engine must pass."""

    target: str
    runtime: str
    precision: str
    #: compute capability times ten; None: that of the GPU found.
    sm: int | None
    #: JetPack -> TensorRT that it ships.
    jetpacks: dict[str, str]
    #: the precision asked for first, then safer ones.
    steps: list[BuildStep]
    #: workspace: share of free memory to start with, and the least to try after halvings.
    workspace_share: float
    workspace_least_mib: int
    golden_inputs: str
    golden_descriptors: str
    #: where the recipe has been tried.
    provenance: str
    #: descriptors of the early exits; "": there are none.
    golden_exits: str = ""


class PrecisionGraphs(msgspec.Struct, frozen=True):
    """The graphs of one precision."""

    #: "typed" and "flags" -> file, see ``Dialect.graph``; without "flags" there is no variant for
    #: the releases that need it.
    graphs: dict[str, Graph]
    #: names in the "flags" graph.
    fp32_nodes: list[str]


class PartGraphs(msgspec.Struct, frozen=True):
    """The graphs of one part of a network with early exits, in one step of the recipe."""

    #: of this part in this step.
    precision: str
    graphs: PrecisionGraphs


def make_recipe(
    target: Target,
    precision: str,
    sources: dict[str, PrecisionGraphs],
    *,
    int8_cosine: float | None = None,
) -> Recipe:
    """The recipe of one target and precision.

    Args:
        sources: precision -> its graphs; the one asked for, and safer ones that the bundle has.
        int8_cosine: least cosine that the INT8 graph had on the compile machine.
    """
    gates = dict(GATES)
    if int8_cosine is not None:
        gates["int8"] = round(int8_cosine - INT8_SLACK, 4)
    steps = []
    for name in (step for step in SAFER[precision] if step in sources):
        build = _build(target, name, sources[name])
        steps.append(BuildStep(name, gates[name], build.variants, build.fp32_nodes))
    return _recipe(target, precision, steps)


def make_exit_recipe(
    target: Target,
    precision: str,
    parts: dict[str, dict[str, PartGraphs]],
    cosines: dict[str, float],
    *,
    half: bool,
) -> Recipe:
    """The recipe of a network with early exits, all of whose graphs a step builds.

    Args:
        parts: step of ``SAFER`` -> file of a graph -> its graphs in that step.
        cosines: exit, "full" too -> least cosine that it had on the compile machine.
        half: FP16 between the graphs, in every step: then FP32 is held to FP16's gate.
    """
    gates = {**GATES, "fp32": GATES["fp16"] if half else GATES["fp32"]}
    steps = []
    for name in SAFER[precision]:
        least: dict[str, float | None] = dict.fromkeys(cosines, gates[name])
        if name == "int8":
            least = {exit: round(found - INT8_SLACK, 4) for exit, found in cosines.items()}
        builds = {
            file: _build(target, part.precision, part.graphs) for file, part in parts[name].items()
        }
        steps.append(BuildStep(name, least["full"], [], [], builds, least))
    return _recipe(target, precision, steps, golden_exits="golden_exits.npy")


def _recipe(
    target: Target, precision: str, steps: list[BuildStep], *, golden_exits: str = ""
) -> Recipe:
    return Recipe(
        target=target.name,
        runtime=target.runtime,
        precision=precision,
        sm=target.sm,
        jetpacks=dict(target.tensorrt),
        steps=steps,
        workspace_share=WORKSPACE_SHARE,
        workspace_least_mib=WORKSPACE_LEAST >> 20,
        golden_inputs="golden_inputs.npy",
        golden_descriptors="golden_descriptors.npy",
        provenance="names checked against the bindings of each release; not run on a board yet",
        golden_exits=golden_exits,
    )


def _build(target: Target, precision: str, source: PrecisionGraphs) -> GraphBuild:
    variants = [
        _variant(dialect, precision, source, dla=dialect in DLA_DIALECTS)
        for dialect in (*DIALECTS, *DLA_DIALECTS)
        if dialect.runtime == target.runtime
        and dialect.graph in source.graphs
        and (dialect in DIALECTS or (precision == "fp16" and target.is_jetson))
    ]
    return GraphBuild(precision, variants, source.fp32_nodes if precision != "fp32" else [])


def variant_for(step: BuildStep | GraphBuild, dialect: Dialect) -> Variant:
    """The variant for an installed release.

    Raises:
        TargetError: the graph uses operators that this release does not read.
    """
    dla = dialect in DLA_DIALECTS
    for variant in step.variants:
        if (variant.versions, variant.dla) == (dialect.versions, dla):
            return variant
    known = ", ".join(variant.versions for variant in step.variants if variant.dla == dla)
    raise TargetError(
        f"found TensorRT {dialect.versions}, expected {known or 'none'}: update JetPack, since "
        "this network uses operators newer than that release reads"
    )


def _variant(dialect: Dialect, precision: str, source: PrecisionGraphs, *, dla: bool) -> Variant:
    graph = source.graphs[dialect.graph]
    command = ["trtexec", f"--onnx={graph.file}", "--saveEngine=ENGINE"]
    command += dialect.trtexec.get(precision, ())
    if dialect.layer_constraints and precision != "fp32" and source.fp32_nodes:
        spec = ",".join(f"{name}:fp32" for name in source.fp32_nodes)
        command += [f"--layerPrecisions={spec}", f"--layerOutputTypes={spec}"]
    command.append("--memPoolSize=workspace:MEM_MIB")
    return Variant(
        versions=dialect.versions,
        graph=graph,
        network_flags=list(dialect.network_flags),
        builder_flags=list(dialect.builder_flags.get(precision, ())),
        trtexec=shlex.join(command),
        dla=dla,
    )
