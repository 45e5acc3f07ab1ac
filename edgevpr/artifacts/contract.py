"""Contract of each kind of artifact: the records of its JSON agree with its files.

What an opener holds an artifact to beyond its hashes. Arrays are held to their records where they
are read (``edgevpr.artifacts.arrays``), graphs and engines before they run (``runtime.engines``):
a board whose engine is damaged must be able to open its bundle and build another.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from edgevpr.artifacts.exit_contract import FULL, contradictions
from edgevpr.artifacts.manifest import MOST_JSON, Artifact, decode_json
from edgevpr.artifacts.records import (
    BundleRecord,
    CodebookRecord,
    ConfidenceModel,
    FeaturesRecord,
    GalleryRecord,
    ModelRecord,
)
from edgevpr.errors import CorruptArtifactError
from edgevpr.preprocess import Preprocess

#: Widest descriptor, most images of a map, longest side of a network's input in pixels.
MOST_DIM, MOST_IMAGES, MOST_SIDE = 1 << 20, 1 << 40, 1 << 13
_EXIT = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class _Recipe(msgspec.Struct):
    """The graphs that ``recipe.json`` names, at any depth."""

    steps: list[Any] = []


def check_contract(opened: Artifact) -> None:
    """Raise unless the records of an artifact agree with its files.

    A record that the folder does not have is reported by whoever needs it.

    Raises:
        CorruptArtifactError: they do not, or a number is out of its range.
    """
    found = _CONTRACTS.get(opened.manifest.kind)
    if found is not None and found[0] in opened.manifest.files:
        found[1](opened)


def _bundle(opened: Artifact) -> None:
    record = opened.read("bundle.json", BundleRecord)
    _check_side(opened, record.preprocess)
    _in_range(opened, "dim", record.dim, 1, MOST_DIM)
    _in_range(opened, "output_dim", record.output_dim, 1, record.dim)
    for found, expected in contradictions(record, opened.manifest.files):
        raise _contradiction(opened, found, expected)
    if "model.onnx" in opened.manifest.files:
        _same_digest(opened, "model.onnx", record.graph_sha256, "bundle.json")
    if "recipe.json" in opened.manifest.files:
        data = opened.bytes("recipe.json", MOST_JSON)
        recipe = decode_json(opened.path / "recipe.json", data, _Recipe)
        for file, digest in _graphs(recipe.steps):
            _same_digest(opened, file, digest, "recipe.json")


def _gallery(opened: Artifact) -> None:
    record = opened.read("gallery.json", GalleryRecord)
    _in_range(opened, "count", record.count, 0, MOST_IMAGES)
    _in_range(opened, "dim", record.dim, 1, MOST_DIM)
    _in_range(opened, "index_dim", record.index_dim, 1, record.dim)
    if record.projection:
        _same_digest(opened, "projection.npy", record.projection, "gallery.json")
    elif record.index_dim != record.dim:
        raise _contradiction(
            opened, f"`index_dim` {record.index_dim} without a projection", str(record.dim)
        )
    _confidence(opened, record.confidence, "")
    names = [each.name for each in record.exits]
    for name in names:
        _exit_name(opened, name)
    if len(set(names)) < len(names):
        raise _contradiction(opened, "an exit twice", "each once")
    for each in record.exits:
        _confidence(opened, each.confidence, each.name)
        if each.confidence and each.confidence.model_digest != each.model_digest:
            raise _contradiction(
                opened, f"the confidence of another network at exit {each.name}", "its own"
            )


def _confidence(opened: Artifact, model: ConfidenceModel | None, exit: str) -> None:
    """Raise unless the confidence model is in range and of this exit; "": the full path."""
    if model is None:
        return
    _in_range(opened, "threshold", model.threshold, 0, 1)
    _in_range(opened, "radius_m", model.radius_m, 0, 1e7)
    _in_range(opened, "weights of the confidence model", len(model.weights), 3, 3)
    if model.exit != exit:
        raise _contradiction(
            opened,
            f"the confidence model of another exit at {exit or FULL}",
            "its own, because scores of another exit mean something else",
        )


def _features(opened: Artifact) -> None:
    record = opened.read("features.json", FeaturesRecord)
    if record.preprocess is not None:
        _check_side(opened, record.preprocess)
    _in_range(opened, "count", record.count, 0, MOST_IMAGES)
    _in_range(opened, "dim", record.dim, 1, MOST_DIM)
    if record.exit:
        _exit_name(opened, record.exit)


def _model(opened: Artifact) -> None:
    record = opened.read("model.json", ModelRecord)
    _check_side(opened, record.preprocess)
    _in_range(opened, "dim", record.dim, 1, MOST_DIM)
    if record.graph:
        opened.file(record.graph)
        if record.exits or record.role != "gallery":
            raise _contradiction(opened, "exits or the role query beside an ONNX graph", "neither")
    names = [each.name for each in record.exits]
    for each in record.exits:
        _exit_name(opened, each.name)
        _in_range(opened, f"multiply_adds_g of exit {each.name}", each.multiply_adds_g, 0, 1e6)
        _in_range(opened, f"share of exit {each.name}", each.share, 0, 1e3)
    if len(set(names)) < len(names):
        raise _contradiction(opened, f"the exits {', '.join(names)}", "each of them once")
    if names:
        opened.file("exits.safetensors")
    elif "exits.safetensors" in opened.manifest.files:
        raise _contradiction(opened, "exits.safetensors without exits in model.json", "them there")


def _codebook(opened: Artifact) -> None:
    record = opened.read("codebook.json", CodebookRecord)
    _in_range(opened, "dim", record.dim, 1, MOST_DIM)
    _in_range(opened, "heads", record.heads, 1, record.dim)
    if record.dim % record.heads:
        raise _contradiction(opened, f"heads {record.heads}", f"a divisor of dim {record.dim}")
    # Float32 prototypes are most of the file.
    opened.file("codebook.safetensors")
    most = opened.manifest.files["codebook.safetensors"].size // (4 * record.dim)
    _in_range(opened, "size", record.size, 1, most)


def _exit_name(opened: Artifact, name: str) -> None:
    if name == FULL or not _EXIT.fullmatch(name):
        raise _contradiction(
            opened,
            f"an early exit named {name[:40]!r}",
            f"letters, digits, dots and dashes, and not {FULL}",
        )


_CONTRACTS: dict[str, tuple[str, Callable[[Artifact], None]]] = {
    "bundle": ("bundle.json", _bundle),
    "gallery": ("gallery.json", _gallery),
    "features": ("features.json", _features),
    "model": ("model.json", _model),
    "codebook": ("codebook.json", _codebook),
}


def _graphs(value: Any, depth: int = 8) -> list[tuple[str, str]]:
    """(file, SHA-256) of each object with both, down to a depth."""
    if depth == 0:
        return []
    if isinstance(value, list):
        return [found for item in value for found in _graphs(item, depth - 1)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("file"), str) and isinstance(value.get("sha256"), str):
        return [(value["file"], value["sha256"])]
    return [found for item in value.values() for found in _graphs(item, depth - 1)]


def _same_digest(opened: Artifact, name: str, digest: str, said_in: str) -> None:
    """Raise unless the file is the one that a record names; no digest was recorded where empty."""
    opened.file(name)
    if digest and opened.manifest.files[name].sha256 != digest:
        raise _contradiction(
            opened,
            f"{name} with the SHA-256 {opened.manifest.files[name].sha256[:12]}",
            f"{digest[:12]}, which {said_in} says",
        )


def _check_side(opened: Artifact, preprocess: Preprocess) -> None:
    for name in ("height", "width"):
        _in_range(opened, name, getattr(preprocess, name), 1, MOST_SIDE)


def _in_range(opened: Artifact, name: str, found: float, least: float, most: float) -> None:
    if not least <= found <= most:
        raise _contradiction(
            opened, f"{name} {found:g}", f"{least:g} to {most:g}" if least != most else f"{most:g}"
        )


def _contradiction(opened: Artifact, found: str, expected: str) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"found {found} in {opened.path}, expected {expected}: write it again with {opened.command}"
    )
