"""Every number of every table is printed whole, at any width."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from edgevpr.cli import console, data, devices, doctor
from edgevpr.cli.tables import layout

VERBS = Path(console.__file__).parent
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
WHY = "a softmax over 196 tokens, whose largest value of 31415.9 does not fit FP16's 11 bits"

#: Table of a verb, in the order of its module -> headers and rows as wide as they get.
SHAPES: dict[str, tuple[list[str], list[list[Any]]]] = {
    "demo 1": (
        ["configuration", "R@1", "R@5", "engine", "p95", "search", "e2e", "p95", "bytes"],
        [
            ["gallery-exact", "100.0", "100.0", 1021.17, 2310.31, 0.09, 1023.14, 2332.04, "1024"],
            ["query-int8-ivfpq", "87.4", "95.2", 12.33, 24.81, 0.41, 13.21, 24.84, "86"],
        ],
    ),
    "demo 2": (
        ["exit", "cost", "engine", "e2e", "p95", "R@1", "R@5", "known"],
        [["1.1", "68 %", 11.19, 12.34, 15.55, "68.2", "87.0", "2.8"],
         ["full", "100 %", 19.11, 20.34, 25.55, "86.6", "95.8", None]],
    ),
    "index 1": (
        ["search", "dim", "agreement %", "R@1", "R@5", "ms p50", "ms p95"],
        [
            ["exact, full space", 12288, 100.0, 98.25, 99.5, None, None],
            ["nprobe=128,k_factor_rf=32 <- chosen", 1024, 99.25, 87.75, 95.5, "12.345", "24.812"],
        ],
    ),
    "index 2": (
        ["index", "parameters", "agree %", "R@1", "ms", "MB"],
        [["OPQ64_256,IVF4096,PQ64x4fs,RFlat", "nprobe=64,k_factor_rf=8", 98.76, 87.43, "1.204",
          1234.56]],
    ),
    "index 3": (
        ["exit", "search", "agreement %", "R@1 exact", "R@1", "R@5", "ms p50", "known %"],
        [
            ["stages.2.14", "nprobe=128,k_factor_rf=32", 98.75, 91.23, 90.87, 97.5, "12.345", None],
            ["full", "IVF4096,PQ128x4fsr,Refine(SQfp16)", 99.25, 100.0, 98.4, 99.9, "0.204", 98.7],
        ],
    ),
    "eval 1": (
        ["model", "exit", "cost %", "queries", "R@1", "R@5", "R@10", "R@20", "R@100P", "AUC-PR"],
        [["demo-out/models/query-network-efficientvit-b2", "L10", 87.4, "all", 95.2, 97.0, 98.1,
          99.9, 42.7, "0.968"],
         ["demo-out/models/query-network-efficientvit-b2", "full", 100.0, "all, answerable", 96.6,
          98.0, 99.1, 99.9, 54.3, "0.987"]],
    ),
    "profile 1": (
        ["configuration", "R@1", "R@5", "engine ms", "p95", "search ms", "end to end ms", "p95",
         "bytes per image", "how"],
        [["query-int8-ivfpq", "87.4", "95.2", "12.3", "24.8", "0.41", "13.2", "124.8", "1,024",
          "measured"]],
    ),
    "report 1": (
        ["configuration", "R@1", "R@5", "engine ms", "p95", "search ms", "end to end ms", "p95",
         "bytes per image", "how"],
        [["gallery-exact", "-", "-", "1,021", "1,310", "0.09", "1,023", "1,332", "-", "emulated"]],
    ),
    "models 1": (
        ["backbone", "aggregator", "D", "parameters, M", "multiply-adds, G"],
        [["efficientvit_b2.r256_in1k", "boq", 12288, 23.89, 104.51]],
    ),
    "gallery 1": (
        ["", ""],
        [["images", 1234567], ["lists", "4096, 1031 in the fullest, imbalance 1.24"]],
    ),
    "gallery 2": (
        ["exit", "search", "agreement %", "R@1", "known %"],
        [["stages.2.14", "nprobe=128,k_factor_rf=32", 98.75, 90.87, 12.3],
         ["full", "", 100.0, None, None]],
    ),
    "gallery 3": (
        ["time", "change", "images", "detail"],
        [["2026-11-25T13:26:44Z", "compact", 1234567, "120 added images, 17 removed; 4096 lists"]],
    ),
    "data 2": (
        ["city", "places", "images", "images per place", "unreadable"],
        [["BuenosAires", 62514, 529506, 8.5, 0], ["TRT", 121, 1031, 12.1, 3]],
    ),
    "data 3": (
        ["", "found", "expected"],
        [["database", 83952, 83952], ["queries without a positive", 1234567, None]],
    ),
    "bundle 1": (
        ["", ""],
        [["graph SHA-256", DIGEST], ["input", "322 x 322 RGB, uint8"], ["files", "27, 104.6 MB"],
         ["parity with FP32", "cosine 0.99871 at least, 0.99942 mean, 16 images"]],
    ),
    "compile 1": (
        ["max error", "min cosine", "mean cosine", "nodes", "int8 layers", "MB"],
        [["3.1e-02", "0.99871", "0.99942", 1843, 127, 104.61]],
    ),
    "compile 2": (
        ["exit", "graphs", "cost %", "min cosine", "ms", "ms p95"],
        [["2.1", "seg1 seg2 adapt-2.1 tail", "91.2", "0.99871", "12.34", "124.81"],
         ["full", "model.onnx", "100.0", "0.99942", "-", "-"]],
    ),
    "build 1": (
        ["exit", "min cosine", "mean cosine", "ms", "ms p95"],
        [["L10", "0.99871", "0.99942", "112.34", "124.81"]],
    ),
    "models 2": (
        ["network", "exit", "map", "multiply-adds, G", "share, %"],
        [["mobilevitv2_100 + salad", "2.1", "256x40x40", 104.512, "61.6"]],
    ),
    "compile 3": (["node", "why"], [["/aggregator/boqs.1/cross_attn/Softmax_output_0", WHY]]),
    "compile 4": (["layer"], [["/backbone/stages.3/blocks.2/context_module/qkv/Conv"]]),
    "train 1": (
        ["exit", "cost", "chosen", "R@1 composition", "R@1 regression"],
        [["L10", "87%", "composition", 96.3, 95.8], ["full", "100%", "", 96.6, 96.6]],
    ),
}  # fmt: skip
#: Tables of verbs that need nothing but this machine: what they print here is rendered.
PRINTED = ("devices 1", "devices 2", "doctor 1", "doctor 2", "doctor 3", "doctor 4", "data 1")


@pytest.fixture(scope="module")
def printed() -> dict[str, tuple[list[str], list[list[Any]]]]:
    """The shapes of PRINTED, by running their verbs."""
    found: dict[str, list[tuple[list[str], list[list[Any]]]]] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, run in {
            "devices": lambda: (devices.command(), devices.command("jetson-orin-nx-8gb")),
            "doctor": doctor.command,
            "data": data.list_protocols,
        }.items():
            shown = found.setdefault(name, [])
            patch.setattr(
                console, "table",
                lambda _, columns, rows, to=shown: to.append((columns, list(rows))),
            )  # fmt: skip
            run()
    return {
        f"{name} {i + 1}": shape for name, shown in found.items() for i, shape in enumerate(shown)
    }


def calls() -> dict[str, ast.Call]:
    """Every call of console.table in edgevpr/cli, as "module number"."""
    found = {}
    for path in sorted(VERBS.glob("*.py")):
        nodes = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "console.table"
        ]
        for i, node in enumerate(sorted(nodes, key=lambda node: node.lineno)):
            found[f"{path.stem} {i + 1}"] = node
    return found


def test_every_table_is_here() -> None:
    """A table that a verb gets also gets its shape above, with the headers it has."""
    assert calls().keys() == SHAPES.keys() | set(PRINTED)
    for name, call in calls().items():
        headers = call.args[1]
        if name in SHAPES and isinstance(headers, ast.List):
            named = [h.value for h in headers.elts if isinstance(h, ast.Constant)]
            assert set(named) <= set(SHAPES[name][0]), name


@pytest.mark.parametrize("width", [40, 60, 80, 120, None], ids=str)
@pytest.mark.parametrize("name", [*SHAPES, *PRINTED])
def test_numbers_are_whole(
    name: str, width: int | None, printed: dict[str, tuple[list[str], list[list[Any]]]]
) -> None:
    columns, rows = (SHAPES | printed)[name]
    lines = layout(columns, rows, width)
    # Headers and cells wrap between words, so that their words in order are the table's.
    flat = " ".join(lines).split()
    for row in rows:
        for cell in row:
            text = "-" if cell is None else f"{cell:.2f}" if isinstance(cell, float) else str(cell)
            for word in text.split():
                assert word in flat or f"{word}," in flat, f"{word} is cut in {lines}"
    if width is None:
        head = bool(any(columns)) * 2
        assert len(lines) == len(rows) + head
    words = [word for row in [columns, *rows] for cell in row for word in str(cell).split()]
    longest = max(map(len, words))
    first = max(len(str(row[0])) for row in rows)
    if width is not None and first < width / 2 and longest < width / 2:
        assert max(map(len, lines)) <= width


def test_a_row_keeps_its_numbers_in_order() -> None:
    """Wrapped or stacked, the numbers of a row read back as they were."""
    columns, rows = SHAPES["demo 1"]
    wanted = [float(cell) for cell in rows[1][1:]]
    for width in (40, 60, 80, 120, None):
        lines = layout(columns, rows, width)
        start = next(i for i, line in enumerate(lines) if line.startswith("query-int8"))
        text = " ".join(lines[start:]).replace("query-int8-ivfpq", "")
        for header in {*columns, ","}:
            text = text.replace(f"{header} ", " ")
        assert [float(n) for n in re.findall(r"[\d.]+", text)] == wanted, lines


def test_narrow_tables_become_blocks() -> None:
    assert layout(*SHAPES["index 2"], 48) == [
        "OPQ64_256,IVF4096,PQ64x4fs,RFlat",
        "  parameters nprobe=64,k_factor_rf=8",
        "  agree % 98.76, R@1 87.43, ms 1.204, MB 1234.56",
    ]


def test_a_number_stays_with_its_unit() -> None:
    lines = layout(["", ""], [["power", "one of 10 W, 15 W, 765 MHz ? and 20 W"]], 24)
    assert all(not re.search(r"\d$", line) for line in lines), lines


def test_wide_characters_count_twice() -> None:
    lines = layout(["name", "n"], [["東京", 1], ["Lund", 22]], None)
    assert lines[-2:] == ["東京   1", "Lund  22"]
