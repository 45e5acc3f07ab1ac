"""Records in the JSON of each artifact.

Every record is validated when it is read. Measured numbers carry the device they were measured
on; ``provenance`` is one of measured, emulated, predicted.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from edgevpr.errors import UsageError
from edgevpr.preprocess import Preprocess

Provenance = Literal["measured", "emulated", "predicted"]


class ExitRecord(msgspec.Struct, frozen=True):
    """One early exit of a model: where it leaves the backbone, and how it is answered from there.

    The whole path is no entry of its own: it is the model, and is called "full".
    """

    #: "L4" after four blocks of a transformer, "2.1" after block 1 of stage 2 of other backbones.
    name: str
    #: what the adapter's tokens become: mixtures of the codebook's, or nothing further.
    method: Literal["composition", "regression"]
    adapter: Literal["mlp", "attention"]
    #: billions of multiply-adds from image to descriptor through this exit, and their share of the
    #: full path's, 0 to 1.
    multiply_adds_g: float
    share: float
    #: R@1 in percent on the validation set; None: there was none.
    validation_r1: float | None = None


class ModelRecord(msgspec.Struct, frozen=True):
    """``model.json`` of a model artifact, beside ``weights.safetensors``.

    With ``graph``, that ONNX file is the network; there are no weights and no architecture.
    With ``exits``, ``exits.safetensors`` beside it holds codebook and adapters.
    """

    role: Literal["gallery", "query"]
    #: backbone, aggregator and their arguments: what edgevpr.train.networks.network.build takes.
    architecture: dict[str, Any]
    preprocess: Preprocess
    #: width D of the descriptor.
    dim: int
    #: resolved configuration, seed, data digest, last metrics.
    training: dict[str, Any]
    #: earliest first.
    exits: list[ExitRecord] = []
    #: codebook and regridding of the exits: what edgevpr.train.anytime builds them from.
    anytime: dict[str, Any] = {}
    #: file of an ONNX graph, (B, 3, H, W) to (B, D) float32; "": a network of edgevpr's own.
    graph: str = ""


def check_own(record: ModelRecord, shown: Path | str) -> None:
    """Raise unless a network is one of edgevpr's own, which can be trained and compiled.

    Raises:
        UsageError: it is an ONNX graph.
    """
    if record.graph:
        raise UsageError(
            f"found an ONNX graph as the network of {shown}, expected a network of edgevpr train, "
            "because a graph only describes images (edgevpr embed, eval): run edgevpr train IMAGES "
            "--features FEATURES with its features, and use that network"
        )


class CodebookRecord(msgspec.Struct, frozen=True):
    """``codebook.json`` of a codebook artifact, beside ``codebook.safetensors``."""

    #: the model whose aggregator reads the tokens that the codebook was learned on.
    model_digest: str
    #: sub-spaces H, prototypes M of each, width D of a token.
    heads: int
    size: int
    dim: int
    init: Literal["learned", "kmeans", "random"]
    #: a second book of the class token, which SALAD reads.
    class_token: bool
    #: resolved configuration, seed, data digest, last metrics.
    training: dict[str, Any]


class FeaturesRecord(msgspec.Struct, frozen=True):
    """``features.json`` of a features artifact.

    Beside it: ``descriptors.npy`` (N, D) float16, L2-normalized rows; ``images.csv``, the N rows
    of an ``edgevpr.places.table.ImageTable`` in the same order.
    """

    #: which network described the images: a gallery one, or a query one trained into the space.
    role: Literal["gallery", "query"]
    model_digest: str
    #: None: not known, because another program described the images.
    preprocess: Preprocess | None
    count: int
    dim: int
    source: str
    #: early exit of the network that described the images; "": the full path.
    exit: str = ""


class OperatingPoint(msgspec.Struct, frozen=True):
    """One setting of the index, measured: agreement and recall in percent, times in ms."""

    #: FAISS parameter string, for example ``nprobe=8,k_factor_rf=4``.
    parameters: str
    #: share (percent) of held-out queries whose exact top-1 image is found first.
    exact_agreement: float
    #: R@1 and R@5 against positives, where the held-out queries have some; else None.
    r1: float | None
    r5: float | None
    search_ms_p50: float
    search_ms_p95: float
    #: which index it is of: factory string, width d, megabytes of its file. Empty in galleries
    #: written before several kinds were measured: the record's own.
    factory: str = ""
    index_dim: int = 0
    index_mb: float | None = None
    #: median search on the board of ``edgevpr index --target``: predicted, never measured.
    predicted_ms_p50: float | None = None


class ConfidenceModel(msgspec.Struct, frozen=True):
    """Probability that the best answer of a search is right, fitted on held-out images of the map.

    Every held-out image of a mapped place was searched twice: as it is, and with its place and
    what is near it taken out of the map. Shares are percent; all
    figures are of images that were not fitted on (two folds, split by place).
    """

    #: "logistic": P(right) = 1 / (1 + exp(-(weights . evidence + intercept))).
    method: str
    #: of the evidence, in the order of ``edgevpr.retrieval.confidence.EVIDENCE``, each 0 or more.
    weights: list[float]
    intercept: float
    #: least confidence of a place that is called known.
    threshold: float
    #: precision, percent, that the threshold was chosen for.
    known_precision: float
    #: an answer within so many metres of the image is right.
    radius_m: float
    #: similarity over which the odds between two places found together change e times; what the
    #: sequence filter weighs them with.
    temperature: float
    #: of images whose best place is wrong: share that found the right one further down, 0 to 1.
    runners_up: float
    #: the network that described the held-out images; the fit does not hold for another one's.
    model_digest: str
    #: images of mapped places, and of places that are not in the map.
    mapped: int
    unmapped: int
    #: right answers of mapped images when the threshold just excludes every wrong answer.
    r_at_100p: float
    #: of mapped images: answered as known. Of known answers: right, None without any. Of unmapped:
    #: called known.
    coverage: float
    precision_known: float | None
    false_known: float
    #: expected calibration error over ten bins, 0 to 1.
    calibration_error: float
    provenance: Provenance
    #: where ``threshold`` is 1, so that nothing is known: the highest whole percent of right
    #: answers that some threshold reaches, that threshold, and the percent of mapped images above
    #: it; 0 where none does, and where ``threshold`` is below 1.
    reachable_precision: float = 0.0
    reachable_threshold: float = 0.0
    reachable_coverage: float = 0.0
    #: early exit of that network that described them; "": its full path.
    exit: str = ""


class GalleryExit(msgspec.Struct, frozen=True):
    """What a gallery keeps for the answers of one early exit of a query network.

    Scores of another exit mean something else, so each has its own operating point and confidence.
    """

    name: str
    #: the query network whose exit it is.
    model_digest: str
    chosen: OperatingPoint
    points: list[OperatingPoint]
    exact_r1: float | None
    exact_r5: float | None
    tuning_queries: int = 0
    without_positives: int = 0
    confidence: ConfidenceModel | None = None


class GalleryRecord(msgspec.Struct, frozen=True):
    """``gallery.json`` of a gallery artifact.

    Beside it: ``index.faiss``, ``images.csv`` (row i is FAISS id i) and, unless the index works
    in the full space, ``projection.npy``.
    """

    #: FAISS factory string, verbatim.
    factory: str
    faiss_version: str
    #: width D of the descriptor space, width d of the index.
    dim: int
    index_dim: int
    count: int
    bytes_per_image: float
    #: SHA-256 of projection.npy; the empty string without one. A bundle with this projection
    #: fused emits descriptors of this gallery's index space and of no other.
    projection: str
    #: chosen operating point and all that were measured.
    chosen: OperatingPoint
    points: list[OperatingPoint]
    #: exact full-space search on the same queries, for reference: R@1, R@5 (None: no positives).
    exact_r1: float | None
    exact_r5: float | None
    device: str
    #: queries that the points were measured with: "queries", held-out images described by the query
    #: network ("queries by the gallery network": by the other one), or "gallery", a sample of the
    #: map itself, each left out of its own search.
    tuned_on: str = ""
    tuning_queries: int = 0
    without_positives: int = 0
    #: exact search in the index's own space (d), on the same queries: what the projection costs.
    projected_agreement: float | None = None
    projected_r1: float | None = None
    projected_r5: float | None = None
    #: None: nothing was held out, or too little to fit on.
    confidence: ConfidenceModel | None = msgspec.field(name="calibration", default=None)
    #: operating points of the other indexes that were built and measured, none of which another
    #: point beats in time, agreement and memory. Their parameters do not fit this index.
    others: list[OperatingPoint] = []
    #: goals of the index: target_agreement, target_recall, max_memory_mb, max_search_ms.
    goals: dict[str, float] = {}
    #: board that ``predicted_ms_p50`` is for, and how the prediction is made.
    target: str = ""
    target_model: str = ""
    #: of a query network with early exits; the fields above are those of its full path.
    exits: list[GalleryExit] = []


class EngineSidecar(msgspec.Struct, frozen=True):
    """``engines/NAME.json``: what must agree before ``engines/NAME.engine`` is loaded."""

    engine: str
    sha256: str
    graph_sha256: str
    precision: str
    #: "tensorrt" or "tensorrt-rtx", and its full version.
    runtime: str
    version: str
    #: compute capability, for example "sm_87".
    sm: str
    #: where it was built, in words: the board or GPU; the build host for one built ahead of time.
    board: str
    flags: list[str]
    build_seconds: float
    #: device profile of the Jetson it was built on, the only one it runs on; '' on other machines.
    target: str = ""
    #: JetPack of that board.
    jetpack: str = ""
    #: deep learning accelerator it runs on, with the GPU for the rest; None: GPU alone.
    dla: int | None = None
    #: the bundle's graph file that was built, and its SHA-256.
    built_from: str = "model.onnx"
    built_from_sha256: str = ""
    #: of a bundle with early exits: which of ``BundleRecord.graphs`` it runs, by file; the file
    #: built may be that graph in another precision or operator set. "": ``model.onnx``.
    graph: str = ""
    #: when, ISO 8601 in UTC.
    built: str = ""


class GraphRecord(msgspec.Struct, frozen=True):
    """One graph of a bundle with early exits: one tensor in, one tensor out, static shapes."""

    #: "graphs/NAME.onnx".
    file: str
    sha256: str
    precision: Literal["fp32", "fp16", "int8"]
    input: str
    output: str
    input_shape: list[int]
    output_shape: list[int]
    #: numpy's names: uint8, float16, float32.
    input_type: str
    output_type: str


class BundleExit(msgspec.Struct, frozen=True):
    """One way through the graphs of a bundle with early exits, from image to descriptor."""

    #: as in the model; "full" is the whole path.
    name: str
    #: files of ``BundleRecord.graphs``, in the order they run; or ["model.onnx"] alone.
    graphs: list[str]
    #: multiply-adds as a share of the full path's, 0 to 1.
    share: float
    #: against the FP32 network at the same exit.
    min_cosine: float
    mean_cosine: float
    max_abs_error: float
    #: engine time in ms on the device that the bundle's evidence names; None: not measured.
    ms_p50: float | None = None
    ms_p95: float | None = None


class BundleRecord(msgspec.Struct, frozen=True):
    """``bundle.json`` of a bundle artifact.

    Beside it: ``model.onnx``; ``golden_inputs.npy`` (n, H, W, 3) uint8 and
    ``golden_descriptors.npy`` (n, d) float32 from the FP32 network; ``recipe.json`` for targets
    whose engine is built on the device; ``engines/``. With ``exits``: ``graphs/``, and
    ``golden_exits.npy`` (E, n, d) float32 of the exits but "full", in their order; ``model.onnx``
    only where "full" runs it. Where it does not, ``graph_sha256`` is that of the hex digests of
    ``graphs``, one after the other.
    """

    target: str
    #: "onnxruntime", "tensorrt" or "tensorrt-rtx".
    runtime: str
    precision: Literal["fp32", "fp16", "int8"]
    preprocess: Preprocess
    #: graph input and output names: (1, H, W, 3) uint8 RGB in, (1, output_dim) float32 out.
    input: str
    output: str
    #: full descriptor width D, and the width the graph emits (d when a projection is fused).
    dim: int
    output_dim: int
    #: SHA-256 of the fused projection.npy, or the empty string.
    projection: str
    model_digest: str
    graph_sha256: str
    engines: list[str]
    #: parity (max absolute error, min and mean cosine against FP32), node counts, recall, sizes.
    evidence: dict[str, Any]
    #: earliest first, "full" last; empty: one graph, one way.
    exits: list[BundleExit] = []
    graphs: list[GraphRecord] = []


class DeviceContext(msgspec.Struct, frozen=True):
    """The machine that a number was measured on, and when; empty or None: not known."""

    #: one line for the head of a table: the board, or the processor and its cores.
    name: str
    #: when measuring began, ISO 8601 with the offset from UTC.
    time: str
    cpu: str
    #: cores this process may use.
    cpus: int
    arch: str
    platform: str
    memory_gb: float
    governor: str
    cpu_mhz: float | None
    #: load average over 1, 5 and 15 minutes when measuring began.
    load: tuple[float, float, float]
    #: thread settings in force, for example {"OMP_NUM_THREADS": "1"}.
    threads: dict[str, str]
    #: peak resident memory of the measuring process, in MB.
    rss_mb: float
    gpus: list[str]
    board: str
    power_mode: str
    jetpack: str
    python: str
    packages: dict[str, str]


class ProfileRow(msgspec.Struct, frozen=True):
    """One configuration measured; times in ms, recall in percent."""

    configuration: str
    #: None where the images measured carry no positions.
    r1: float | None
    r5: float | None
    engine_ms_p50: float
    engine_ms_p95: float
    search_ms_p50: float
    #: from a decoded frame to an answer: preprocessing, engine, search; decoding is left out.
    end_to_end_ms_p50: float
    end_to_end_ms_p95: float
    #: index bytes a gallery image takes in memory.
    bytes_per_image: float | None
    provenance: Provenance
    #: every sample taken after the warm-up, in ms, by stage, in order.
    samples_ms: dict[str, list[float]]
    #: description of the configuration: target, precision, index, network and the like.
    facts: dict[str, str]
    #: where the gallery has a confidence model for this network and the images have positions:
    #: right answers told more surely than every wrong one, and answers called known, as shares of
    #: the images whose place is in the map; right ones as a share of those called known.
    r_at_100p: float | None = None
    coverage: float | None = None
    precision_known: float | None = None


class ProfileRecord(msgspec.Struct, frozen=True):
    """``profile.json`` of a profile artifact."""

    rows: list[ProfileRow]
    device: DeviceContext
    #: where the frames came from, as typed.
    source: str
    frames: int
    warmup: int
    #: queries behind R@K, how many of them no gallery image answers, gallery size, radius.
    queries: int
    without_positives: int
    database: int
    radius_m: float
    #: evidence of the bundles measured, by configuration.
    evidence: dict[str, dict[str, Any]]
    #: what made a gallery image a positive, in words; "" in older profiles: within the radius.
    rule: str = ""
