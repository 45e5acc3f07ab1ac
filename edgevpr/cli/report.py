"""Verb ``edgevpr report``: profiles as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console


def command(
    profiles: Annotated[
        list[Path], typer.Argument(help="Profile artifacts (edgevpr profile), one or more.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path(
        "report.html"
    ),
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Latency and recall",
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Draw profiles as one HTML page that opens without network."""
    from edgevpr.artifacts.folder import open_artifact
    from edgevpr.artifacts.records import ProfileRecord
    from edgevpr.files import write_atomic
    from edgevpr.profiles.report.render_report import (
        closing_table,
        report_from_records,
        told_apart,
    )

    read = [open_artifact(p, "profile").read("profile.json", ProfileRecord) for p in profiles]
    alike = len({p.name for p in profiles}) < len(profiles)
    records = told_apart(read, [str(p) if alike else p.name for p in profiles])
    write_atomic(output, report_from_records(records, title=title).encode())
    rows = [row for record in records for row in record.rows]
    if json:
        from edgevpr.profiles.configuration import closing_row

        console.emit_json({"report": str(output), "rows": [closing_row(row) for row in rows]})
        return
    table = closing_table(rows)
    console.table(title, list(table.columns), [list(row) for row in table.rows])
    console.note(f"wrote {output}")
