"""Drawing for a page: SVG that takes its colours and fonts from the page, light or dark.

Matplotlib draws with placeholder colours; ``to_svg`` replaces each by the page's CSS variable of
that name and drops everything a page does not need: prolog, metadata, namespaces, unused ids.
"""

import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgevpr.optional import require

#: Placeholder -> CSS variable. The page defines them for both colour schemes.
_COLOURS = {
    "#010101": "--ink",
    "#020202": "--muted",
    "#030303": "--rule",
    "#040404": "--s1",
    "#050505": "--s2",
    "#060606": "--s3",
    "#070707": "--s4",
    "#080808": "--s5",
    "#090909": "--s6",
}
INK, MUTED, RULE, *SERIES = _COLOURS


@dataclass(frozen=True)
class Figure:
    """An inline SVG, its caption, and the text that screen readers get in its place."""

    svg: str
    caption: str
    alt: str


def canvas(width: float, height: float) -> Any:
    require("matplotlib", extra="report")
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(width, height), layout="constrained")


def style_axes(axes: Any, *, x: str, y: str) -> Any:
    axes.set_xlabel(x, fontsize=9, color=MUTED)
    axes.set_ylabel(y, fontsize=9, color=MUTED)
    axes.tick_params(which="both", labelcolor=MUTED, labelsize=9, color=RULE)
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    return axes


def plain_log(axis: Any) -> None:
    """Ticks of a logarithmic axis as 0.1, 1, 10, not as powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 3.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights moved apart until neighbours are at least ``gap`` from each other."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = list(heights)
    for _ in range(60):
        for a, b in itertools.pairwise(order):
            overlap = gap - (placed[b] - placed[a])
            if overlap > 1e-9:
                placed[a] -= overlap / 2
                placed[b] += overlap / 2
    return placed


def to_svg(figure: Any, name: str) -> str:
    """The figure as an SVG element for a page; ids carry ``name``, which is unique there."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    used = set(re.findall(r"#([\w-]+)[\")]", text)) - {c.removeprefix("#") for c in _COLOURS}
    text = re.sub(r'\sid="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    for identifier in used:
        text = re.sub(rf"#{re.escape(identifier)}(?=[\")])", f"#{name}-{identifier}", text)
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"font: ([^;\"]*?)px [^;\"]*", r"font: \1px var(--font)", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", text)
    text = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", text, count=1)
    return re.sub(r"\n\s*", "\n", text).strip()
