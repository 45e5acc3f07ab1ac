"""The figures of a report: recall against latency, latency by stage, curves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.records import ProfileRow
from edgevpr.profiles.configuration import EXIT
from edgevpr.profiles.report.drawing import (
    INK,
    MUTED,
    SERIES,
    Figure,
    canvas,
    plain_log,
    spread,
    style_axes,
    to_svg,
)
from edgevpr.profiles.stage_times import END_TO_END, format_ms, summarize

_STAGES = {"engine": 0, "preprocess": 1, "search": 2, END_TO_END: 3, "decode": 4, "project": 5}


def recall_figure(rows: Sequence[ProfileRow]) -> Figure | None:
    """R@1 over end-to-end latency, the area of a dot over bytes per image; None without recall."""
    shown = [row for row in rows if row.r1 is not None]
    if not shown:
        return None
    figure = canvas(7.2, 3.5)
    axes = style_axes(
        figure.add_subplot(), x="end-to-end latency, ms (median, line to p95)", y="R@1, %"
    )
    times = [row.end_to_end_ms_p50 for row in shown]
    if max(times) > 8 * min(times):
        axes.set_xscale("log")
        plain_log(axes.xaxis)
    recalls = [row.r1 or 0.0 for row in shown]
    low, high = min(recalls), max(recalls)
    pad = max(0.18 * (high - low), 1.0)
    axes.set_ylim(max(low - pad, -1), min(high + pad, 102))
    _widen(axes, times, [row.end_to_end_ms_p95 for row in shown])
    gap = (axes.get_ylim()[1] - axes.get_ylim()[0]) / 13
    lines = exit_lines(shown)
    heights = spread([line[-1].r1 or 0.0 for line in lines], gap)
    # The names of the exits of the best bundle lie above its line, those of others below.
    top = max((li for li in lines if len(li) > 1), key=lambda li: li[-1].r1 or 0.0, default=None)
    for i, (line, height) in enumerate(zip(lines, heights, strict=True)):
        colour, last = SERIES[i % len(SERIES)], line[-1]
        _exits(axes, line, colour, above=line is top)
        for row in line:
            r1 = row.r1 or 0.0
            ends = [row.end_to_end_ms_p50, row.end_to_end_ms_p95]
            axes.plot(ends, [r1, r1], color=colour, linewidth=1.4)
            area = 36 * (1 + math.log10(max(row.bytes_per_image or 1, 1)))
            axes.scatter(ends[:1], [r1], s=area, color=colour, zorder=3)
        axes.annotate(
            _bundle_of(last)
            + (f", {_bytes(last.bytes_per_image)}" if last.bytes_per_image else ""),
            (last.end_to_end_ms_p95, last.r1 or 0.0),
            xytext=(last.end_to_end_ms_p95, height),
            textcoords="data",
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=False,
        ).set_x(last.end_to_end_ms_p95 * 1.04)
    text = "; ".join(
        f"{r.configuration}: {r.r1:.1f} % at {r.end_to_end_ms_p50:.1f} ms" for r in shown
    )
    return Figure(
        to_svg(figure, "recall"),
        "Recall against latency. Up and to the left is better; a larger dot is an index with more "
        "bytes per gallery image."
        + (
            " A line joins the exits of one bundle, less those that a faster exit equals."
            if any(len(line) > 1 for line in lines)
            else ""
        ),
        f"R@1 against median end-to-end latency. {text}.",
    )


def _exits(axes: Any, line: Sequence[ProfileRow], colour: str, *, above: bool) -> None:
    """The Pareto line of a bundle's exits, and each exit's name at its dot."""
    if len(line) < 2:
        return
    front = pareto_front(line)
    ms, r1s = [row.end_to_end_ms_p50 for row in front], [row.r1 for row in front]
    axes.plot(ms, r1s, color=colour, linewidth=1.8, alpha=0.6)
    for row in line:
        axes.annotate(
            row.facts[EXIT],
            (row.end_to_end_ms_p50, row.r1 or 0.0),
            xytext=(0, 9 if above else -9),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=8.5,
            color=colour,
        )


def _bundle_of(row: ProfileRow) -> str:
    """Name of a row without its exit."""
    exit = row.facts.get(EXIT, "")
    return row.configuration.removesuffix(f"-{exit}") if exit else row.configuration


def exit_lines(rows: Sequence[ProfileRow]) -> list[list[ProfileRow]]:
    """Rows by bundle: the exits of one together, earliest first, any other row by itself.

    ``edgevpr profile`` writes the exits of a bundle one after the other, "full" last.
    """
    lines: list[list[ProfileRow]] = []
    base = None
    for row in rows:
        exit = row.facts.get(EXIT, "")
        name = _bundle_of(row) if exit else None
        if name is not None and name == base:
            lines[-1].append(row)
        else:
            lines.append([row])
        base = None if exit == FULL else name
    return lines


def pareto_front(rows: Sequence[ProfileRow]) -> list[ProfileRow]:
    """Rows with a recall that none answers as fast and as rightly, by latency."""
    front: list[ProfileRow] = []
    for row in sorted(rows, key=lambda row: (row.end_to_end_ms_p50, -(row.r1 or 0.0))):
        if row.r1 is not None and (not front or row.r1 > (front[-1].r1 or 0.0)):
            front.append(row)
    return front


def stage_figure(rows: Sequence[ProfileRow]) -> Figure | None:
    """Distribution of every stage's latency on one logarithmic axis; None without samples."""
    shown = [row for row in rows if any(row.samples_ms.values())]
    if not shown:
        return None
    lines = [(row, stage) for row in shown for stage in row.samples_ms if row.samples_ms[stage]]
    figure = canvas(7.2, 0.55 + 0.27 * len(lines) + 0.30 * len(shown))
    axes = style_axes(figure.add_subplot(), x="latency of one frame, ms", y="")
    axes.set_xscale("log")
    values = np.concatenate([np.asarray(row.samples_ms[stage]) for row, stage in lines])
    low, high = float(max(values.min(), 1e-4)), float(max(values.max(), 2e-4))
    edges = np.geomspace(low / 1.15, high * 1.15, 141)
    axes.set_xlim(edges[0], edges[-1])
    axes.text(1.02, -0.75, "p50 · p95 · p99", transform=axes.get_yaxis_transform(), fontsize=8.5,
              color=MUTED, ha="left")  # fmt: skip
    plain_log(axes.xaxis)
    y, ticks, labels = 0.0, [], []
    for row in shown:
        y -= 1.05
        axes.text(0, y + 0.15, row.configuration, transform=axes.get_yaxis_transform(),
                  fontsize=9.5, fontweight="bold", color=INK, ha="left")  # fmt: skip
        for stage in (s for s in row.samples_ms if row.samples_ms[s]):
            y -= 1.0
            samples = np.asarray(row.samples_ms[stage])
            colour = SERIES[_STAGES.get(stage, 4) % len(SERIES)]
            counts, _ = np.histogram(samples, edges)
            smooth = np.convolve(counts, [0.25, 0.5, 0.25], "same")
            ridge = 0.78 * smooth / max(smooth.max(), 1e-9)
            centres = np.sqrt(edges[1:] * edges[:-1])
            axes.fill_between(centres, y, y + ridge, where=ridge > 0, color=colour, alpha=0.45,
                              linewidth=0)  # fmt: skip
            s = summarize(row.samples_ms[stage])
            axes.plot([s.p50, s.p50], [y, y + 0.8], color=colour, linewidth=2)
            axes.plot([s.p95, s.p95], [y, y + 0.45], color=colour, linewidth=2)
            text = " · ".join(format_ms(v) for v in (s.p50, s.p95, s.p99))
            axes.text(1.02, y + 0.12, text, transform=axes.get_yaxis_transform(), fontsize=8.5,
                      color=MUTED, ha="left")  # fmt: skip
            ticks.append(y + 0.3)
            labels.append(stage.replace("_", " "))
    axes.set_ylim(y - 0.3, 0.1)
    axes.set_yticks(ticks, labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    worst = max(shown, key=lambda row: row.end_to_end_ms_p95)
    return Figure(
        to_svg(figure, "stages"),
        "Where the time goes. Each ridge is the distribution over frames; the tall mark is the "
        "median, the short one p95. The axis is logarithmic.",
        f"Latency by stage and configuration. The slowest end to end is {worst.configuration}, "
        f"p95 {worst.end_to_end_ms_p95:.1f} ms; the numbers are in the table above.",
    )


def curves_figure(
    name: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x: str,
    y: str,
    caption: str,
    log_y: bool = False,
) -> Figure:
    """Lines over a common axis, labelled at their ends: a loss, a recall over epochs.

    Args:
        name: unique in the page, letters and digits.
        series: label -> (x values, y values).
    """
    figure = canvas(7.2, 2.7)
    axes = style_axes(figure.add_subplot(), x=x, y=y)
    if log_y:
        axes.set_yscale("log")
        plain_log(axes.yaxis)
    ends = {label: ys[-1] for label, (_, ys) in series.items() if len(ys)}
    for i, (label, (xs, ys)) in enumerate(series.items()):
        colour = SERIES[i % len(SERIES)]
        axes.plot(xs, ys, color=colour, linewidth=1.8)
        if label in ends:
            axes.scatter([xs[-1]], [ys[-1]], s=14, color=colour)
    if not log_y and ends:
        low, high = axes.get_ylim()
        heights = spread(list(ends.values()), (high - low) / 12)
    else:
        heights = list(ends.values())
    for label, height in zip(ends, heights, strict=True):
        axes.annotate(
            label, (1.01, height), xycoords=axes.get_yaxis_transform(), fontsize=9, color=INK,
            va="center", annotation_clip=False,
        )  # fmt: skip
    text = ", ".join(f"{label} ends at {value:.3g}" for label, value in ends.items())
    return Figure(to_svg(figure, name), caption, f"{y} over {x}: {text}.")


def _widen(axes: Any, lows: Sequence[float], highs: Sequence[float]) -> None:
    """Room at the right for the labels."""
    low, high = min(lows), max(highs)
    if axes.get_xscale() == "log":
        axes.set_xlim(low / 1.3, high * (high / low) ** 0.45 * 1.3)
    else:
        axes.set_xlim(max(low - 0.15 * (high - low) - 0.02 * high, 0), high + 0.75 * (high - low))


def _bytes(count: float) -> str:
    return f"{count:,.0f} B/image"
