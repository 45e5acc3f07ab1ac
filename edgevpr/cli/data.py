"""Verbs ``edgevpr data ...``: data sets and their protocols."""

from pathlib import Path
from typing import Annotated

import typer

from edgevpr.cli import console
from edgevpr.cli.verbs import new_app
from edgevpr.printable import counted

group = new_app(
    help="Check data sets against papers' protocols, and convert photos.",
)
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@group.command("list")
def list_protocols(json: Json = False) -> None:
    """List the evaluation protocols: counts, what makes a positive, who uses them."""
    from edgevpr.data.protocols import PROTOCOLS

    if json:
        console.emit_json(list(PROTOCOLS.values()))
        return
    console.table(
        "Protocols",
        ["name", "database", "queries", "positives", "used by"],
        [[p.name, p.database, p.queries, p.rule, p.used_by] for p in PROTOCOLS.values()],
    )


@group.command("check")
def check_data(
    name: Annotated[str, typer.Argument(help="Protocol (edgevpr data list), or gsv-cities.")],
    path: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every image, too: finds damaged files.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare a folder with a protocol: counts, positives, missing images."""
    from edgevpr.data.protocols import check, check_gsv
    from edgevpr.errors import DataError
    from edgevpr.preprocess import read_image

    def unreadable(file: Path) -> bool:
        try:
            read_image(file)
        except DataError:
            return True
        return False

    if name == "gsv-cities":
        cities = check_gsv(path, unreadable=unreadable if decode else None)
        if json:
            console.emit_json(cities)
        else:
            console.table(
                "GSV-Cities",
                ["city", "places", "images", "images per place", "unreadable"],
                [
                    [c.city, c.places, c.images, round(c.images / c.places, 1), len(c.unreadable)]
                    for c in cities
                ],
            )
            places, count = sum(c.places for c in cities), sum(c.images for c in cities)
            console.note(
                f"{counted(len(cities), 'city')}, {counted(places, 'place', spec=',')}, "
                f"{counted(count, 'image', spec=',')}; the whole training set has 23 cities, "
                "62,514 places and 529,506 images (Ali-bey et al., 2022)"
            )
        if damaged := [image for c in cities for image in c.unreadable]:
            raise DataError(
                f"found {counted(len(damaged), 'image')} of {path} that cannot be read, the first "
                f"being {damaged[0]}, expected none: replace them, or remove their rows"
            )
        return
    found = check(name, path, unreadable=unreadable if decode else None)
    if json:
        console.emit_json(found)
    else:
        console.table(
            f"{name}: {found.used_by}",
            ["", "found", "expected"],
            [
                ["database", found.found[0], found.expected[0]],
                ["queries", found.found[1], found.expected[1]],
                ["queries without a positive", found.without_positives, None],
            ],
        )
        console.note(f"positives: {found.rule}")
    if found.problems:
        raise DataError(
            f"found {path} unlike {name} ({'; '.join(found.problems)}), expected its images: "
            "complete it, or name another protocol (edgevpr data list)"
        )


@group.command("convert")
def convert_photos(
    source: Annotated[Path, typer.Argument(help="Folder of photos.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write, @utm names.")],
    positions: Annotated[
        Path | None,
        typer.Option(help=".csv, .gpx or .kml; without it the photos' EXIF or images.csv."),
    ] = None,
    clock_offset_s: Annotated[
        float | None,
        typer.Option(
            "--clock-offset",
            help="Seconds from the camera's clock to UTC, for .gpx; without it the offset that the "
            "photos say (OffsetTimeOriginal), or none.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End where an input would be left out.")
    ] = False,
    json: Json = False,
) -> None:
    """Copy photos to @utm names, which hold their positions and which every verb reads.

    A photo whose position is not certain is left out and named: no hemisphere, 0, 0, no track point
    near its time, two rows that contradict each other.
    """
    from edgevpr.data.convert import convert
    from edgevpr.data.left_out import summary

    made = convert(
        source,
        output,
        positions=positions,
        clock_offset_s=clock_offset_s,
        strict=strict,
        track=console.track,
    )
    if json:
        console.emit_json(made)
        return
    left = f"; {summary(made.left_out)}" if made.left_out else ""
    console.note(f"wrote {output}: {counted(made.images, 'photo')}{left}")
