"""Records of bundles with early exits that contradict themselves or their files."""

import re
from typing import Any

import msgspec
import pytest

from edgevpr.artifacts.exit_contract import contradictions, graphs_digest
from edgevpr.artifacts.manifest import FileEntry
from edgevpr.artifacts.records import BundleExit, BundleRecord, GraphRecord
from edgevpr.preprocess import Preprocess

STATE, TOKENS = [1, 8, 4, 4], [1, 16, 8]


def graph(name: str, given: tuple[str, list[int]], gives: tuple[str, list[int]]) -> GraphRecord:
    return GraphRecord(
        file=f"graphs/{name}.onnx",
        sha256=name[0] * 64,
        precision="fp16",
        input="in",
        output="out",
        input_shape=given[1],
        output_shape=gives[1],
        input_type=given[0],
        output_type=gives[0],
    )


def way(name: str, *graphs: str) -> BundleExit:
    return BundleExit(name, [f"graphs/{g}.onnx" for g in graphs], 0.5, 1.0, 1.0, 0.0)


IMAGE, MAP, FLAT, OUT = (
    ("uint8", [1, 32, 32, 3]), ("float16", STATE), ("float16", TOKENS), ("float32", [1, 64]),
)  # fmt: skip
GRAPHS = [
    graph("seg1", IMAGE, MAP), graph("rest", MAP, FLAT), graph("adapt-L4", MAP, FLAT),
    graph("tail", FLAT, OUT),
]  # fmt: skip
FILES = {g.file: FileEntry(1, g.sha256) for g in GRAPHS} | {
    "golden_exits.npy": FileEntry(1, "0" * 64)
}
RECORD = BundleRecord(
    target="cpu",
    runtime="onnxruntime",
    precision="fp16",
    preprocess=Preprocess(32, 32),
    input="in",
    output="out",
    dim=64,
    output_dim=64,
    projection="",
    model_digest="",
    graph_sha256=graphs_digest(g.sha256 for g in GRAPHS),
    engines=[],
    evidence={},
    exits=[way("L4", "seg1", "adapt-L4", "tail"), way("full", "seg1", "rest", "tail")],
    graphs=GRAPHS,
)


def change(record: BundleRecord, **fields: Any) -> BundleRecord:
    return msgspec.structs.replace(record, **fields)


def test_a_sound_record_has_none() -> None:
    assert list(contradictions(RECORD, FILES)) == []
    static = change(RECORD, exits=[], graphs=[])
    assert list(contradictions(static, {"model.onnx": FileEntry(1, "1" * 64)})) == []


def wide(g: GraphRecord) -> GraphRecord:
    return msgspec.structs.replace(g, output_type="float32")


WRONG = {
    "full is not the last": ({"exits": RECORD.exits[::-1]}, "full as the last"),
    "the same exit twice": ({"exits": [RECORD.exits[0], *RECORD.exits]}, "each once"),
    "graphs without exits": ({"exits": []}, "neither, or both"),
    "a graph twice": ({"graphs": [*GRAPHS, GRAPHS[0]]}, "each once"),
    "a graph of no exit": ({"exits": RECORD.exits[1:]}, "only graphs that some exit runs"),
    "an unknown graph": (
        {"exits": [way("L4", "seg1", "adapt-L6", "tail"), RECORD.exits[1]]}, "graphs of this",
    ),
    "an exit of nothing": ({"exits": [way("L4"), RECORD.exits[1]]}, "graphs of this"),
    "out of order": (
        {"exits": [way("L4", "adapt-L4", "seg1", "tail"), RECORD.exits[1]]}, "which it is given",
    ),
    "no tail": ({"exits": [way("L4", "seg1", "adapt-L4"), RECORD.exits[1]]}, r"float32 \[1, 64\]"),
    "another type": ({"graphs": [wide(GRAPHS[0]), *GRAPHS[1:]]}, "which it is given"),
    "another width": ({"output_dim": 32}, r"float32 \[1, 32\]"),
    "another image": ({"preprocess": Preprocess(32, 64)}, r"\[1, 32, 64, 3\], which it is given"),
    "another digest": ({"graph_sha256": "0" * 64}, "that of its graphs"),
    "another order of digests": (
        {"graph_sha256": graphs_digest(g.sha256 for g in GRAPHS[::-1])}, "that of its graphs",
    ),
    "one graph that is not there": (
        {"exits": [*RECORD.exits[:1], msgspec.structs.replace(way("full"), graphs=["model.onnx"])],
         "graphs": [g for g in GRAPHS if "rest" not in g.file]}, "present, as full runs it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_contradiction_is_found(case: str) -> None:
    """Before an engine is given tensors of another size than it reads."""
    fields, says = WRONG[case]
    found = list(contradictions(change(RECORD, **fields), FILES))
    assert any(re.search(says, expected) for _, expected in found), found


def test_files_are_those_of_the_record() -> None:
    """Every graph's own checksum, the golden vectors, and no stray single graph."""
    for name in FILES:
        fewer = {n: entry for n, entry in FILES.items() if n != name}
        assert len(list(contradictions(RECORD, fewer))) == 1
    changed = {**FILES, "graphs/tail.onnx": FileEntry(1, "f" * 64)}
    ((found, expected),) = contradictions(RECORD, changed)
    assert "graphs/tail.onnx with the SHA-256 ffffffffffff" in found
    assert "bundle.json" in expected
    stray = {**FILES, "model.onnx": FileEntry(1, "e" * 64)}
    ((found, _),) = contradictions(RECORD, stray)
    assert found == "model.onnx present"


@pytest.mark.parametrize("shape", [[], [2, 8, 4, 4], [1, 0], [1, 1 << 29]])
def test_no_tensor_of_any_size(shape: list[int]) -> None:
    """A runner allocates what the record says."""
    first = msgspec.structs.replace(GRAPHS[0], output_shape=shape)
    found = [what for what, _ in contradictions(change(RECORD, graphs=[first, *GRAPHS[1:]]), FILES)]
    assert any(what.startswith("a tensor [") for what in found)
