"""Layers of an engine by precision, from TensorRT's own account of them.

On a device the engine inspector gives it, as JSON. For an engine built ahead of time there is no
GPU to load it on; the builder logs the same, a line a layer.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

#: How releases spell the types of tensors -> ours.
_TYPES = {
    "float": "fp32", "fp32": "fp32", "half": "fp16", "fp16": "fp16", "int8": "int8",
    "bfloat16": "bf16", "bf16": "bf16",
}  # fmt: skip
_LINE = re.compile(r"^Name: (?P<name>.+?), LayerType: (?P<kind>[^,]*), (?P<rest>.*)$")
_TENSOR = re.compile(r"Datatype: ?([A-Za-z0-9]+)")


class LayerSummary(msgspec.Struct, frozen=True):
    """Layers of an engine, after fusion."""

    layers: int
    #: narrowest floating or INT8 type among a layer's inputs and weights -> layers.
    precisions: dict[str, int]
    #: names of layers on a deep learning accelerator, each a part of the network.
    dla: list[str]


class EngineLayer(msgspec.Struct, frozen=True):
    """One layer: its name, TensorRT's name for its kind, and the types it reads."""

    name: str
    kind: str
    #: types of its inputs and weights, spelled as in ``_TYPES``.
    reads: frozenset[str]


def summarize(layers: Iterable[EngineLayer]) -> LayerSummary:
    """Count layers by the precision they compute in."""
    found = list(layers)
    return LayerSummary(
        layers=len(found),
        precisions=dict(sorted(Counter(_narrowest(layer.reads) for layer in found).items())),
        dla=[layer.name for layer in found if "dla" in layer.kind.lower()],
    )


def from_log(messages: Iterable[str]) -> list[EngineLayer]:
    """Layers from the builder's log with detailed profiling verbosity."""
    lines = (line for message in messages for line in message.splitlines())
    matches = (_LINE.match(line.strip()) for line in lines)
    return [
        EngineLayer(m["name"], m["kind"], _reads(m["rest"].partition("Outputs: [")[0]))
        for m in matches
        if m
    ]


def from_inspector(information: str) -> list[EngineLayer]:
    """Layers from the engine inspector's JSON; names alone where it was built without detail."""
    layers = json.loads(information).get("Layers", [])
    return [_layer(layer) for layer in layers]


def _layer(layer: Any) -> EngineLayer:
    if isinstance(layer, str):
        return EngineLayer(layer, "", frozenset())
    tensors = [*layer.get("Inputs", []), *layer.get("Constants", [])]
    # Release 8 says "Row major linear FP32 format", 10 says "Half".
    types = " ".join(str(t.get("Datatype") or t.get("Format/Datatype") or "") for t in tensors)
    words = re.findall(r"[A-Za-z0-9]+", types)
    return EngineLayer(str(layer.get("Name", "")), str(layer.get("LayerType", "")), _known(words))


def _reads(text: str) -> frozenset[str]:
    return _known(_TENSOR.findall(text))


def _known(words: Iterable[str]) -> frozenset[str]:
    return frozenset(_TYPES[word.lower()] for word in words if word.lower() in _TYPES)


def _narrowest(reads: frozenset[str]) -> str:
    return next((name for name in ("int8", "fp16", "bf16", "fp32") if name in reads), "other")
