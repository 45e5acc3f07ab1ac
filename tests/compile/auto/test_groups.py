"""Groups: every layer in exactly one, by kind."""

import numpy as np
import onnx

from edgevpr.compile.auto.groups import layer_groups, multiply_adds
from edgevpr.compile.precision.structure import GraphIndex, weighted_layers


def test_every_layer_is_in_one_group(clean: onnx.ModelProto) -> None:
    groups = layer_groups(clean)
    nodes = [node for group in groups for node in group.nodes]
    assert len(nodes) == len(set(nodes))
    assert {layer.name for layer in weighted_layers(clean)} <= set(nodes)
    assert len({group.name for group in groups}) == len(groups)


def test_kinds(clean: onnx.ModelProto) -> None:
    """Stem, attention and head are recognized by structure."""
    kinds: dict[str, list[str]] = {}
    for group in layer_groups(clean):
        kinds.setdefault(group.kind, []).extend(group.nodes)
    index = GraphIndex(clean)
    named = {node.name: node for node in index.nodes}
    assert len(kinds["stem"]) == 1
    assert kinds["head"] == ["projection.gemm"]
    assert {named[n].op_type for n in kinds["residual"]} == {"Add"}
    assert {named[n].op_type for n in kinds["depthwise"]} == {"Conv"}
    for name in kinds["pointwise"]:
        assert index.weights[named[name].input[1]][2:] == (1, 1)
    # LiteMLA's qkv convolution, and the products of both attentions.
    assert any(named[n].op_type == "Conv" for n in kinds["attention"])
    assert any(named[n].op_type in ("MatMul", "Gemm") for n in kinds["attention"])


def test_multiply_adds_are_those_of_the_layer(clean: onnx.ModelProto) -> None:
    """Groups and the INT8 rule count alike; depthwise counts one channel a map."""
    index = GraphIndex(clean)
    named = {node.name: node for node in index.nodes}
    for layer in weighted_layers(clean):
        assert multiply_adds(index, named[layer.name]) == layer.macs
    for group in layer_groups(clean):
        if group.kind == "depthwise":
            node = named[group.nodes[0]]
            taps = int(np.prod(index.weights[node.input[1]][1:]))
            assert multiply_adds(index, node) == taps * index.size(node.output[0])
