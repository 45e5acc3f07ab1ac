"""``recipe.json``: how to build a bundle's engine on the device, for each TensorRT release.

The compile machine writes it, ``edgevpr build`` on the board follows it, and the trtexec lines in
it do the same by hand.
"""

import shlex

import msgspec

from edgevpr.compile.builder import WORKSPACE_LEAST, WORKSPACE_SHARE
from edgevpr.compile.dialects import DIALECTS, Dialect
from edgevpr.compile.parity import GATES
from edgevpr.errors import TargetError
from edgevpr.targets import Target

RECIPE = "recipe.json"


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
    #: the same by hand, run inside the bundle; fill in MEM_MIB and ENGINE.
    trtexec: str


class Recipe(msgspec.Struct, frozen=True):
    """Everything a board needs to know to build, and to judge what it built."""

    target: str
    runtime: str
    precision: str
    #: compute capability times ten; None: that of the GPU found.
    sm: int | None
    #: JetPack -> TensorRT that it ships.
    jetpacks: dict[str, str]
    variants: list[Variant]
    #: nodes held in FP32 where releases are told so layer by layer.
    fp32_nodes: list[str]
    #: workspace: share of free memory to start with, and the least to try after halvings.
    workspace_share: float
    workspace_least_mib: int
    golden_inputs: str
    golden_descriptors: str
    #: least cosine of any golden image for the engine to be accepted; None: report only.
    min_cosine: float | None
    #: what has been tried where.
    provenance: str


def make_recipe(
    target: Target, precision: str, graphs: dict[str, Graph], fp32_nodes: list[str]
) -> Recipe:
    """The recipe of one target and precision.

    Args:
        graphs: "typed" and "flags" -> file, see ``Dialect.graph``. Without "flags" the recipe
            has no variant for the releases that need it.
        fp32_nodes: names in the "flags" graph.
    """
    return Recipe(
        target=target.name,
        runtime=target.runtime,
        precision=precision,
        sm=target.sm,
        jetpacks=dict(target.tensorrt),
        variants=[
            _variant(dialect, precision, graphs[dialect.graph], fp32_nodes)
            for dialect in DIALECTS
            if dialect.runtime == target.runtime and dialect.graph in graphs
        ],
        fp32_nodes=fp32_nodes if precision != "fp32" else [],
        workspace_share=WORKSPACE_SHARE,
        workspace_least_mib=WORKSPACE_LEAST >> 20,
        golden_inputs="golden_inputs.npy",
        golden_descriptors="golden_descriptors.npy",
        min_cosine=GATES[precision],
        provenance="names checked against the bindings of each release; not run on a board yet",
    )


def variant_for(recipe: Recipe, dialect: Dialect) -> Variant:
    """The variant for an installed release.

    Raises:
        TargetError: the graph uses operators that this release does not read.
    """
    for variant in recipe.variants:
        if variant.versions == dialect.versions:
            return variant
    known = ", ".join(variant.versions for variant in recipe.variants)
    raise TargetError(
        f"found TensorRT {dialect.versions}, expected {known}: this network uses operators newer "
        "than that release reads; update JetPack"
    )


def _variant(dialect: Dialect, precision: str, graph: Graph, fp32_nodes: list[str]) -> Variant:
    command = ["trtexec", f"--onnx={graph.file}", "--saveEngine=ENGINE"]
    command += dialect.trtexec.get(precision, ())
    if dialect.layer_constraints and precision != "fp32" and fp32_nodes:
        spec = ",".join(f"{name}:fp32" for name in fp32_nodes)
        command += [f"--layerPrecisions={spec}", f"--layerOutputTypes={spec}"]
    command.append("--memPoolSize=workspace:MEM_MIB")
    return Variant(
        versions=dialect.versions,
        graph=graph,
        network_flags=list(dialect.network_flags),
        builder_flags=list(dialect.builder_flags.get(precision, ())),
        trtexec=shlex.join(command),
    )
