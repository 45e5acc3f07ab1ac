"""FP16 between graphs: types change, values only by FP16's rounding."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgevpr.compile.exits.boundaries import half_boundaries, half_ends
from edgevpr.compile.exits.cut import Cut, read_cut
from edgevpr.compile.graph.reference import describe
from edgevpr.compile.graph.signature import load_part, tensor_ends
from edgevpr.compile.precision.modelopt import autocast

ALL = ("seg1", "seg2", "seg3", "adapt-1.0", "adapt-2.0")


@pytest.fixture
def cut(cut_folder: Path) -> Cut:
    return read_cut(cut_folder, ["1.0", "2.0"])


@pytest.mark.parametrize("name", ["seg2", "adapt-1.0", "tail"])
@pytest.mark.parametrize("typed", [True, False])
def test_ends_become_half(cut_folder: Path, name: str, typed: bool) -> None:
    """In a graph typed in FP16 the casts at its ends go; an FP32 one gets casts of its own."""
    graph = load_part(cut_folder / f"{name}.onnx")
    graph = onnx.shape_inference.infer_shapes(graph)
    if typed:
        graph = autocast(graph, {})
    writes = name != "tail"
    changed = half_ends(graph, reads=True, writes=writes)
    onnx.checker.check_model(changed, full_check=True)
    ends, before = tensor_ends(changed), tensor_ends(graph)
    assert (ends.input, ends.input_shape) == (before.input, before.input_shape)
    assert (ends.output, ends.output_shape) == (before.output, before.output_shape)
    assert ends.input_type == "float16"
    assert ends.output_type == ("float16" if writes else "float32")
    casts = [sum(n.op_type == "Cast" for n in g.graph.node) for g in (graph, changed)]
    assert casts[1] < casts[0] if typed else casts[1] == casts[0] + 1 + writes
    rng = np.random.default_rng(0)
    states = rng.standard_normal((2, *ends.input_shape[1:])).astype(np.float16)
    expected = describe(graph, states, as_written=True)
    found = describe(changed, states, as_written=True)
    np.testing.assert_allclose(found, expected, rtol=2**-10, atol=1e-6)


def test_one_large_state_keeps_fp32_where_it_must(cut: Cut) -> None:
    """Two graphs that write for one reader agree on a type, and so do two readers of one."""
    small = dict.fromkeys(ALL, 10.0)
    reads, writes = half_boundaries(cut, small)
    assert reads == {"seg2", "seg3", "adapt-1.0", "adapt-2.0", "tail"}
    assert writes == set(ALL)
    reads, writes = half_boundaries(cut, {**small, "seg2": 3e4})
    assert reads == {"seg2", "adapt-1.0", "tail"}
    assert writes == set(ALL) - {"seg2"}
    reads, writes = half_boundaries(cut, {**small, "adapt-2.0": np.inf})
    assert "tail" not in reads
    assert writes == {"seg1", "seg2"}
