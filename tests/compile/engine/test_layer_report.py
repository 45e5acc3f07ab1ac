"""Layers by precision, from TensorRT's log and inspector."""

import json

from edgevpr.compile.engine.layer_report import from_inspector, from_log, summarize

LOG = """Layers:
Name: cast, LayerType: kgen, Inputs: [ { Name: images, Dimensions: [1,8], Datatype: UInt8, Format: \
(Linear) x }], Constants: [ { Name: s, Datatype: Float, Format: y }], Outputs: [ { Name: a, \
Datatype: Half, Format: z }], TacticName: t, StreamId: 0, Metadata: [ONNX Layer: cast]
Name: conv, LayerType: correlation, Inputs: [ { Name: a, Datatype: Half, Format: z }, { Name: b, \
Datatype: Int8, Format: z }], Outputs: [ { Name: c, Datatype: Float, Format: z }], TacticName: u
Name: move, LayerType: kgen, Inputs: [ { Name: i, Datatype: Int32, Format: z }], Outputs: [ ]
"""


def test_a_builder_s_log() -> None:
    """A layer counts by the narrowest type it reads, not by what it writes."""
    found = summarize(from_log(["Layers: none", LOG]))
    assert (found.layers, found.dla) == (3, [])
    assert found.precisions == {"fp32": 1, "int8": 1, "other": 1}


def test_the_inspector_of_old_and_new_releases() -> None:
    """Release 8 spells types in a sentence, 10 in a word; without detail there are only names."""
    words = "Channel major FP16 format where channel % 8 == 0"
    old = {"Name": "a", "LayerType": "Cask", "Inputs": [{"Format/Datatype": words}]}
    new = {"Name": "{ForeignNode[b...c]}", "LayerType": "DLA", "Inputs": [{"Datatype": "Int8"}]}
    found = summarize(from_inspector(json.dumps({"Layers": [old, new, "only a name"]})))
    assert found.precisions == {"fp16": 1, "int8": 1, "other": 1}
    assert found.dla == ["{ForeignNode[b...c]}"]
