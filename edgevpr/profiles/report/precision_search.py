"""Figure and tables of a precision search: R@1 over latency, and the error of each group."""

from collections.abc import Mapping
from typing import Any

from edgevpr.profiles.report.drawing import INK, SERIES, Figure, canvas, style_axes, to_svg
from edgevpr.profiles.report.page import Table


def search_figure(name: str, decision: Mapping[str, Any]) -> Figure:
    """R@1 over latency of every assignment tried, the limit, and the chosen one.

    Args:
        name: unique in the page.
        decision: the bundle's evidence under "auto".
    """
    tried = decision["candidates"]
    figure = canvas(7.2, 2.9)
    axes = style_axes(figure.add_subplot(), x=f"latency, ms ({decision['provenance']})", y="R@1, %")
    least = decision["fp32_r1"] - decision["max_recall_drop"]
    axes.axhline(least, color=SERIES[3], linewidth=1.2, linestyle=(0, (4, 3)))
    for row in tried:
        chosen = row["verdict"] == "chosen"
        axes.scatter(
            [row["latency_ms"]], [row["r1"]], s=70 if chosen else 30, zorder=3,
            color=SERIES[1] if chosen else SERIES[0],
        )  # fmt: skip
        if chosen:
            axes.annotate(
                row["name"], (row["latency_ms"], row["r1"]), xytext=(6, 6), color=INK,
                textcoords="offset points", fontsize=9, annotation_clip=False,
            )  # fmt: skip
    points = "; ".join(f"{r['name']}: {r['r1']:.1f} % at {r['latency_ms']:.2f} ms" for r in tried)
    return Figure(
        to_svg(figure, name),
        "Assignments of precisions that were tried. The dashed line is the lowest R@1 allowed; the "
        "large dot was chosen.",
        f"R@1 against {decision['provenance']} latency. {points}.",
    )


def search_tables(configuration: str, decision: Mapping[str, Any]) -> list[Table]:
    """The candidates with their verdicts, and the groups with their errors."""
    tried = Table(
        ["tried", "R@1", "points lost", "ms", "base ms", "MB", "verdict"],
        [
            [
                row["name"],
                f"{row['r1']:.2f}",
                f"{row['drop']:.2f}",
                f"{row['latency_ms']:.3f}",
                f"{row['base_ms']:.3f}",
                f"{row['megabytes']:.1f}",
                row["verdict"],
            ]
            for row in decision["candidates"]
        ],
        caption=f"{configuration}: {decision['reason']}. {decision['tuning']}. "
        f"Latency {decision['provenance']}: {decision['basis']}.",
    )
    groups = Table(
        ["group", "layers", "M multiply-adds", "INT8 error", "FP16 error", "saves ms", "runs in"],
        [
            [
                row["name"],
                str(row["layers"]),
                f"{row['mmacs']:.1f}",
                f"{max(row['int8_error'], 0):.1e}",
                "" if row["fp16_error"] is None else f"{max(row['fp16_error'], 0):.1e}",
                f"{row['saved_ms']:.3f}",
                row["precision"],
            ]
            for row in decision["groups"]
        ],
        caption="Each group alone: 1 - mean cosine of descriptors to FP32's on calibration images.",
    )
    return [tried, groups]
