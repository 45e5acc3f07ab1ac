"""Figure and tables of a precision search in the report."""

import msgspec

from edgevpr.profiles.report.precision_search import search_figure, search_tables

DECISION = {
    "precision": "int8", "chosen": "int8, first 2 of 3 groups", "reason": "INT8 is faster",
    "max_recall_drop": 0.5, "fp32_r1": 86.0, "tuning": "250 images of tuning",
    "tuning_images": 250, "provenance": "measured", "basis": "ONNX Runtime on a CPU",
    "groups": [
        {"name": "pointwise 16x16", "kind": "pointwise", "layers": 4, "mmacs": 16.8,
         "int8_error": 9e-5, "fp16_error": None, "saved_ms": 0.4, "precision": "int8"},
    ],
    "candidates": [
        {"name": "fp32", "int8": [], "fp32": [], "r1": 86.0, "drop": 0.0, "descriptor_error": 0.0,
         "latency_ms": 16.0, "base_ms": 16.0, "megabytes": 6.0, "verdict": "gains less"},
        {"name": "int8, first 2 of 3 groups", "int8": ["pointwise 16x16"], "fp32": [], "r1": 85.6,
         "drop": 0.4, "descriptor_error": 3e-4, "latency_ms": 12.0, "base_ms": 16.0,
         "megabytes": 2.8, "verdict": "chosen"},
    ],
    "seconds": 60.0, "remarks": [],
}  # fmt: skip


def test_every_candidate_and_group_is_shown() -> None:
    """The tables hold every verdict, and the figure has its text alternative."""
    tried, groups = search_tables("query-int8", DECISION)
    assert [row[-1] for row in tried.rows] == ["gains less", "chosen"]
    assert "250 images of tuning" in tried.caption
    assert groups.rows == [["pointwise 16x16", "4", "16.8", "9.0e-05", "", "0.400", "int8"]]
    figure = search_figure("precision0", DECISION)
    assert "int8, first 2 of 3 groups: 85.6 % at 12.00 ms" in figure.alt
    assert "<svg" in figure.svg


def test_the_records_are_those_of_a_search() -> None:
    """The report reads what compile writes: same names, or this fails."""
    from edgevpr.compile.auto.decision import Decision

    msgspec.convert(DECISION, Decision)
