"""Model and projection to compile, read from the artifacts of train and index."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.records import ExitRecord, GalleryRecord, ModelRecord, check_own
from edgevpr.artifacts.space import check_same_space
from edgevpr.errors import NumericsError
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.projection import Projection


@dataclass(frozen=True)
class ModelSource:
    """A graph to compile, and the descriptors it must give."""

    #: an exported graph: images (1, H, W, 3) uint8 -> descriptor (1, D) float32.
    graph: Path
    preprocess: Preprocess
    #: descriptor space id and digest of the model artifact.
    space: str
    model_digest: str
    #: the gallery's, fused into the graph, with the SHA-256 of its file; None leaves width D.
    projection: Projection | None = None
    projection_sha256: str = ""
    #: early exits, earliest first, and the folder with the graphs of the network cut at them: see
    #: ``exits.cut.read_cut``. None: it is compiled as one graph.
    exits: tuple[ExitRecord, ...] = ()
    parts: Path | None = None


def read_source(model: Path, graph: Path, gallery: Path | None = None) -> ModelSource:
    """A model artifact and its exported graph, with a gallery's projection if one is given.

    Args:
        model: model artifact.
        graph: where its export lies, or will lie.
        gallery: gallery artifact whose index space the bundle shall emit.

    Raises:
        UsageError: the model's network is an ONNX graph.
        SpaceMismatchError: the gallery was built in another descriptor space.
        NumericsError: a weight is NaN or infinite; named.
    """
    opened = open_artifact(model, "model")
    record = opened.read("model.json", ModelRecord)
    check_own(record, model)
    _check_weights(model, opened.held("weights.safetensors"))
    if record.exits:
        _check_weights(model, opened.file("exits.safetensors"))
    projection, digest = None, ""
    if gallery is not None:
        index = open_artifact(gallery, "gallery")
        check_same_space(opened.space, str(model), index.space, str(gallery))
        gallery_record = index.read("gallery.json", GalleryRecord)
        digest = gallery_record.projection
        projection = Projection.of_gallery(index, gallery_record)
    return ModelSource(
        graph=graph,
        preprocess=record.preprocess,
        space=opened.space,
        model_digest=opened.digest,
        projection=projection,
        projection_sha256=digest,
        exits=tuple(record.exits),
    )


def _check_weights(model: Path, weights: Path) -> None:
    from safetensors import safe_open

    with safe_open(str(weights), framework="np") as tensors:
        for name in tensors.keys():  # noqa: SIM118  # not a mapping
            values = tensors.get_tensor(name)
            bad = 0
            if values.dtype.kind == "f":
                bad = int((~np.isfinite(values)).sum())
            if bad:
                raise NumericsError(
                    f"found {bad} NaN or infinite of {values.size} values in weight {name!r} of "
                    f"{model}, expected numbers: run edgevpr train IMAGES again with a lower --lr"
                )
