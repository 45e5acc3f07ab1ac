"""HTML report of profiles: one page that needs no network and prints.

A page is a closing table and sections; a section holds text, tables, figures and strips of
pictures. ``standard_sections`` makes those every profile has; a caller adds its own.
"""

from collections import Counter
from collections.abc import Sequence
from importlib import resources
from typing import Any

import msgspec

from edgevpr import __version__
from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.records import DeviceContext, ProfileRecord, ProfileRow
from edgevpr.optional import require
from edgevpr.printable import counted
from edgevpr.profiles.configuration import EXIT
from edgevpr.profiles.report.figures import recall_figure, stage_figure
from edgevpr.profiles.report.page import Section, Table
from edgevpr.profiles.stage_times import format_ms, summarize


def render_report(
    title: str,
    rows: Sequence[ProfileRow],
    sections: Sequence[Section],
    *,
    lead: str = "",
    device: str = "",
    time: str = "",
) -> str:
    """The page as HTML.

    Args:
        title: its heading.
        rows: the configurations of the closing table, in order.
        sections: what follows the table.
        lead: a sentence or two under the heading.
        device, time: of the measurement, for the line above the table.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    require("jinja2", extra="report")
    import jinja2

    source = resources.files("edgevpr") / "profiles" / "report" / "templates" / "report.html"
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    page = environment.from_string(source.read_text(encoding="utf-8"))
    return page.render(
        title=title,
        lead=lead,
        device=device,
        time=time[:16].replace("T", " "),
        version=__version__,
        closing=closing_table(rows) if rows else None,
        sections=sections,
    )


def report_from_records(records: Sequence[ProfileRecord], *, title: str = "") -> str:
    """The page for one or more profiles: every row of each, in the order given."""
    rows = [row for record in records for row in record.rows]
    devices = list(dict.fromkeys(record.device.name for record in records))
    return render_report(
        title or "Latency and recall",
        rows,
        standard_sections(records),
        device="; ".join(devices),
        time=records[0].device.time if records else "",
    )


def told_apart(records: Sequence[ProfileRecord], labels: Sequence[str]) -> list[ProfileRecord]:
    """The records, every configuration of them under a name of its own.

    A name that several have gets the label of its profile, and a number where that is not enough.
    """
    counts = Counter(row.configuration for record in records for row in record.rows)
    taken: set[str] = set()
    apart = []
    for record, label in zip(records, labels, strict=True):
        rows, evidence = [], dict(record.evidence)
        for row in record.rows:
            old = row.configuration
            name = new = old if counts[old] == 1 else f"{old} ({label})"
            number = 1
            while new in taken:
                number += 1
                new = f"{name} {number}"
            taken.add(new)
            rows.append(msgspec.structs.replace(row, configuration=new))
            if old in evidence:
                evidence[new] = evidence.pop(old)
        apart.append(msgspec.structs.replace(record, rows=rows, evidence=evidence))
    return apart


def standard_sections(records: Sequence[ProfileRecord]) -> list[Section]:
    """Figures, method, device, and the evidence of the bundles."""
    rows = [row for record in records for row in record.rows]
    figures = [figure for figure in (recall_figure(rows), stage_figure(rows)) if figure]
    found = [
        Section("Recall and latency", figures=figures, text=exits_beaten(records)),
        Section("How it was measured", text=list(dict.fromkeys(how_measured(r) for r in records))),
        Section("Measured on", tables=[device_table(record.device) for record in records]),
        Section("All stages", tables=[stage_table(rows)]),
        Section("Configurations", tables=[facts_table(rows)]),
        *_precision_searches(records),
        Section("Evidence", tables=evidence_tables(records)),
    ]
    return [s for s in found if s.figures or s.text or any(t.rows for t in s.tables)]


def exits_beaten(records: Sequence[ProfileRecord]) -> list[str]:
    """A sentence for each early exit that another network beats, measured on the same device with
    as many queries: as fast and as right, or more. One, if none is beaten; none without both."""
    said, compared = [], False
    for record in records:
        same = [
            r for r in records if (r.device.name, r.queries) == (record.device.name, record.queries)
        ]
        others = [row for r in same for row in r.rows if EXIT not in row.facts]
        for row in record.rows:
            if row.facts.get(EXIT, FULL) == FULL or row.r1 is None:
                continue
            rivals = [o for o in others if o.r1 is not None]
            compared |= bool(rivals)
            better = [
                o
                for o in rivals
                if o.end_to_end_ms_p50 <= row.end_to_end_ms_p50 and (o.r1 or 0.0) >= row.r1
            ]
            if better:
                best = max(better, key=lambda o: o.r1 or 0.0)
                said.append(
                    f"{row.configuration} is beaten by {best.configuration}, a network without "
                    f"exits: R@1 {best.r1:.1f} in {format_ms(best.end_to_end_ms_p50)} ms against "
                    f"{row.r1:.1f} in {format_ms(row.end_to_end_ms_p50)} ms."
                )
    if compared and not said:
        return ["No early exit is beaten by a network without exits, in time and R@1 together."]
    return said


def _precision_searches(records: Sequence[ProfileRecord]) -> list[Section]:
    from edgevpr.profiles.report.precision_search import search_figure, search_tables

    found = {name: e["auto"] for r in records for name, e in r.evidence.items() if "auto" in e}
    for record in records:
        for name, e in record.evidence.items():
            found |= {f"{name}, {part}": d for part, d in e.get("auto_graphs", {}).items()}
    return [
        Section(
            f"How {name} came by its precisions",
            figures=[search_figure(f"precision{i}", decision)],
            tables=search_tables(name, decision),
        )
        for i, (name, decision) in enumerate(found.items())
    ]


def closing_table(rows: Sequence[ProfileRow]) -> Table:
    """The nine numbers of each configuration."""
    columns = [
        "configuration", "R@1", "R@5", "engine ms", "p95", "search ms", "end to end ms", "p95",
        "bytes per image", "how",
    ]  # fmt: skip
    return Table(
        columns,
        [
            [
                row.configuration,
                _percent(row.r1),
                _percent(row.r5),
                format_ms(row.engine_ms_p50),
                format_ms(row.engine_ms_p95),
                format_ms(row.search_ms_p50),
                format_ms(row.end_to_end_ms_p50),
                format_ms(row.end_to_end_ms_p95),
                "-" if row.bytes_per_image is None else f"{row.bytes_per_image:,.0f}",
                row.provenance,
            ]
            for row in rows
        ],
    )


def stage_table(rows: Sequence[ProfileRow]) -> Table:
    """Percentiles of every stage of every configuration."""
    body = []
    for row in rows:
        for stage, samples in row.samples_ms.items():
            if samples:
                s = summarize(samples)
                numbers = [format_ms(v) for v in (s.mean, s.p50, s.p95, s.p99, s.max)]
                body.append([row.configuration, stage.replace("_", " "), str(s.n), *numbers])
    return Table(["configuration", "stage", "frames", "mean ms", "p50", "p95", "p99", "max"], body)


def how_measured(record: ProfileRecord) -> str:
    """Sentences on what the numbers include."""
    text = (
        f"{counted(record.frames, 'frame')} of {record.source}, one at a time, after "
        f"{record.warmup} that were not counted. End to end runs from a decoded frame to a ranked "
        "list of places: preprocessing, engine, search; decoding the file is timed by itself and "
        "left out."
    )
    if record.queries:
        text += (
            f" Recall: {counted(record.queries, 'query')} against "
            f"{counted(record.database, 'gallery image')}, "
            f"positives {record.rule or f'within {record.radius_m:g} m'}"
        )
        text += (
            f"; {record.without_positives} queries have no positive and are not counted."
            if record.without_positives
            else "; every query has at least one."
        )
    return text


def device_table(device: DeviceContext) -> Table:
    """The machine, its settings and the packages that matter."""
    rows = {
        "board": device.board,
        "JetPack": device.jetpack,
        "power mode": device.power_mode,
        "processor": f"{device.cpu}, {device.cpus} cores usable, {device.arch}",
        "clock": f"{device.cpu_mhz:.0f} MHz" if device.cpu_mhz else "",
        "governor": device.governor or "not readable here",
        "GPU": ", ".join(device.gpus) or "none",
        "memory": f"{device.memory_gb:g} GB; this process peaked at {device.rss_mb:.0f} MB",
        "load when it began": ", ".join(f"{value:.2f}" for value in device.load),
        "threads": ", ".join(f"{k} {v}" for k, v in device.threads.items()) or "defaults",
        "platform": device.platform,
        "Python": device.python,
        "packages": ", ".join(f"{k} {v}" for k, v in device.packages.items()),
        "time": device.time,
    }
    return Table(["", ""], [[k, v] for k, v in rows.items() if v], caption=device.name)


def facts_table(rows: Sequence[ProfileRow]) -> Table:
    """Target, precision, index and the like of each configuration."""
    names = list(dict.fromkeys(name for row in rows for name in row.facts))
    if not names:
        return Table([], [])
    return Table(
        ["configuration", *names],
        [[row.configuration, *(row.facts.get(name, "-") for name in names)] for row in rows],
    )


def evidence_tables(records: Sequence[ProfileRecord]) -> list[Table]:
    """The evidence of every bundle, flattened to name and value."""
    found = []
    for record in records:
        for configuration, evidence in record.evidence.items():
            # The precision search has a section of its own.
            lines = _flatten({k: v for k, v in evidence.items() if k != "auto"})
            if lines:
                found.append(Table(["", ""], lines, caption=configuration))
    return found


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _flatten(value: Any, prefix: str = "") -> list[list[str]]:
    if isinstance(value, dict):
        return [
            line
            for key, inner in value.items()
            for line in _flatten(inner, f"{prefix}, {key}" if prefix else str(key))
        ]
    if isinstance(value, list):
        joined = ", ".join(_scalar(item) for item in value[:12])
        more = f" and {len(value) - 12} more" if len(value) > 12 else ""
        return [[prefix.replace("_", " "), joined + more]]
    return [[prefix.replace("_", " "), _scalar(value)]]


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else str(value)
