"""Verb ``edgevpr profile``: latency and recall of a bundle with a gallery."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console


def command(
    source: Annotated[
        Path, typer.Argument(help="Folder of images, labelled for recall, or a video file.")
    ],
    bundle: Annotated[Path, typer.Option(help="Bundle artifact (edgevpr compile).")],
    gallery: Annotated[Path, typer.Option(help="Gallery artifact (edgevpr index).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Profile artifact to write.")],
    features: Annotated[
        Path | None,
        typer.Option(
            help="Gallery-network features of the gallery's images: also measure the "
            "engine with exact search."
        ),
    ] = None,
    name: Annotated[
        str, typer.Option(help="Name of the configuration; target and precision by default.")
    ] = "",
    exact_name: Annotated[
        str, typer.Option(help="Name of the one with exact search; NAME-exact by default.")
    ] = "",
    count: Annotated[
        int, typer.Option(min=0, help="Frames to time, spread over the source; 0 is all.")
    ] = 300,
    warmup: Annotated[int, typer.Option(min=0, help="Frames before those, not timed.")] = 20,
    radius_m: Annotated[
        float,
        typer.Option(
            "--radius", min=0, help="Metres within which a gallery image answers a query."
        ),
    ] = 25.0,
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads of an ONNX Runtime engine; 0 is every core.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Measure latency of every stage, and recall, on this device.

    End to end runs from a decoded frame to ranked places: preprocessing, engine, search. Decoding
    a file is timed by itself and left out. Every sample is kept, with the machine it came from.
    """
    import msgspec

    from edgevpr.printable import utf8
    from edgevpr.profiles.configuration import closing_row
    from edgevpr.profiles.measure import profile, write_profile
    from edgevpr.profiles.report.render_report import closing_table
    from edgevpr.redact import redact

    record = profile(
        bundle,
        gallery,
        source,
        features=features,
        name=name,
        exact_name=exact_name,
        count=count,
        warmup=warmup,
        radius_m=radius_m,
        threads=threads,
        track=console.track,
    )
    config = {
        "source": utf8(redact(str(source))), "bundle": str(bundle), "gallery": str(gallery),
        "exact": None if features is None else str(features), "name": name,
        "exact_name": exact_name, "frames": count,
        "warmup": warmup, "radius_m": radius_m, "threads": threads,
    }  # fmt: skip
    drawn = write_profile(output, record, config)
    if not record.queries:
        console.note("no recall: the frames carry no places")
    elif record.without_positives:
        console.note(
            f"{record.without_positives} of {record.queries} queries have no gallery image "
            f"{record.rule} and are not counted"
        )
    if not drawn:
        console.note("no report.html: run pip install 'edgevpr[report]', then edgevpr report")
    if json:
        rows = [closing_row(row) for row in record.rows]
        device = msgspec.to_builtins(record.device)
        console.emit_json({"profile": str(output), "device": device, "rows": rows})
        return
    table = closing_table(record.rows)
    console.table(record.device.name, list(table.columns), [list(row) for row in table.rows])
    for row in record.rows:
        if row.coverage is not None:
            of_those = (
                "no answer known"
                if row.precision_known is None
                else f"{row.precision_known:.1f} % of those right"
            )
            console.note(
                f"{row.configuration}: {row.coverage:.1f} % of the mapped queries answered as "
                f"known, {of_those}, R@100P {row.r_at_100p:.1f}"
            )
    console.note(f"wrote {output}")
