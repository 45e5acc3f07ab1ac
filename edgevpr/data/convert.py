"""Converter of photos to an ``@utm`` folder, by EXIF, a CSV, a GPX track or KML placemarks."""

import math
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from edgevpr.data.exif import read_exif
from edgevpr.data.gpx_track import along, read_gpx
from edgevpr.data.image_files import EXTENSIONS, image_kind, list_images, why_unreadable
from edgevpr.data.left_out import LeftOut, printable, refuse, summary
from edgevpr.data.names import format_utm_name, iso_time
from edgevpr.data.position_files import Fix, csv_positions, kml_positions, match_rows
from edgevpr.data.read import TABLE, read_images
from edgevpr.data.readings import iso_utc, position_problem, seconds_since_1970
from edgevpr.errors import DataError, UsageError
from edgevpr.files import replacing
from edgevpr.guard import keeps_inputs
from edgevpr.places.utm import to_utm
from edgevpr.progress import Track, silent

#: Bytes that a file name may have on nearly every file system.
_NAME_BYTES = 255


@dataclass(frozen=True)
class Converted:
    """Count of the photos written, and everything that was not used: photos, rows, folders."""

    images: int
    left_out: list[LeftOut]


@keeps_inputs("out")
def convert(
    source: Path,
    out: Path,
    *,
    positions: Path | None = None,
    clock_offset_s: float | None = None,
    strict: bool = False,
    track: Track = silent,
) -> Converted:
    """Copy photos to a new folder under ``@utm`` names.

    A photo whose position is not known for certain is left out, and said to be.

    Args:
        source: folder of photos, searched recursively.
        out: a free place.
        positions: .csv (a file column, lat, lon, and heading or time where known), .gpx (matched
            by the photos' EXIF time) or .kml (placemarks named like the photos); None takes what
            the EXIF blocks or the ``images.csv`` have.
        clock_offset_s: seconds to add to the camera's clock to get UTC, for GPX; None takes what
            the photos say (OffsetTimeOriginal), and UTC where they say nothing.
        strict: refuse where anything would be left out.

    Raises:
        UsageError: something is at ``out`` already, or another kind of positions file.
        DataError: no photo has a position, the positions cannot be read, or ``strict`` and
            something was left out.
    """
    source, out = Path(source), Path(out).absolute()
    left_out: list[LeftOut] = []
    paths = list_images(source, left_out)
    fixes = _fixes(source, paths, positions, clock_offset_s, left_out)
    if strict:
        refuse(left_out, str(source))
    if not fixes:
        where = positions if positions is not None else "their EXIF blocks"
        check = "pass a file of `positions`" if positions is None else "check the file names"
        if positions is not None and positions.suffix.lower() == ".gpx":
            check = "correct the clock with `clock_offset_s`"
        raise DataError(
            f"found no position for any of the {len(paths)} photos of {source} in {where}, "
            f"{summary(left_out)}, expected one each: {check}"
        )
    names = _names(source, fixes)

    def check_free() -> None:
        if out.exists() or out.is_symlink():
            raise UsageError(
                f"found something at {out}, expected a free place: choose another `out`"
            )

    with replacing(out, check_free) as folder:
        written = 0
        for path in track(list(fixes), "copying photos", len(fixes)):
            try:
                shutil.copy2(source / path, folder / names[path])
                written += 1
            except (FileNotFoundError, PermissionError) as error:
                left_out.append(LeftOut(path, f"not readable ({error.strerror})"))
        if strict or not written:
            refuse(left_out, str(source))
    return Converted(written, [LeftOut(printable(x.path), x.reason) for x in left_out])


def _names(source: Path, fixes: dict[str, Fix]) -> dict[str, str]:
    """A name for each photo, no two alike; what tells photos of one spot apart is the note.

    What a note cannot hold becomes ``_``, and what is too long is cut.
    """
    lat = np.array([fix.lat for fix in fixes.values()])
    lon = np.array([fix.lon for fix in fixes.values()])
    easting, northing, zone, letter = to_utm(lat, lon)
    names: dict[str, str] = {}
    taken: set[str] = set()
    for i, (path, fix) in enumerate(fixes.items()):
        text = _note(path)
        for number in range(1, len(fixes) + 1):
            end = f"-{number}" if number > 1 else ""
            spare = _NAME_BYTES
            for _ in range(2):  # the second time with what the rest of the name takes
                note = text.encode()[: max(0, spare - len(end))].decode("utf-8", "ignore") + end
                name = format_utm_name(
                    easting[i], northing[i], int(zone[i]), letter[i], fix.lat, fix.lon,
                    heading=fix.heading, time=iso_time(fix.time), note=note,
                    ext=_suffix(source / path),
                )  # fmt: skip
                spare = _NAME_BYTES - (len(name.encode()) - len(note.encode()))
            if _alike(name) not in taken:
                break
        taken.add(_alike(name))
        names[path] = name
    return names


def _alike(name: str) -> str:
    """The name as file systems see it that tell neither A from a nor two spellings of é apart."""
    return unicodedata.normalize("NFC", name.casefold())


def _note(path: str) -> str:
    """The path without extension as a note: no @, /, control characters or bytes of no encoding."""
    file = PurePosixPath(printable(path))
    note = "_".join((*file.parts[:-1], file.stem if _is_image_suffix(file) else file.name))
    note = "".join(c if c.isprintable() and c not in "@\\" else "_" for c in note)
    return f"_{note}" if note.startswith("place=") else note


def _suffix(file: Path) -> str:
    """The extension, or where that is none of an image, the one of what the file holds."""
    return file.suffix.lower() if _is_image_suffix(file) else image_kind(file) or ".jpg"


def _is_image_suffix(file: PurePosixPath | Path) -> bool:
    return file.suffix.lower() in EXTENSIONS


def _fixes(
    source: Path,
    paths: list[str],
    positions: Path | None,
    clock_offset_s: float | None,
    left_out: list[LeftOut],
) -> dict[str, Fix]:
    """The photos with a position; all others go to ``left_out``."""
    if positions is None:
        return dict(_own(source, paths, left_out))
    if not positions.is_file():
        raise DataError(f"found no file {positions}, expected a .csv, .gpx or .kml: check the path")
    kind = positions.suffix.lower()
    if kind not in (".csv", ".kml", ".gpx"):
        raise UsageError(
            f"found {positions}, a {kind or 'nameless'} file, expected .csv, .gpx or .kml: pass "
            "one of these as `positions`"
        )
    if kind == ".gpx":
        return dict(_along(source, paths, positions, clock_offset_s, left_out))
    rows = csv_positions(positions, left_out) if kind == ".csv" else kml_positions(positions)
    known = len(left_out)
    found = match_rows(source, paths, rows, left_out)
    noted = {item.path for item in left_out[known:]}
    for path in paths:
        if path not in found and path not in noted:
            left_out.append(LeftOut(path, f"not named in {positions.name}"))
        elif path in found and image_kind(source / path) is None:
            left_out.append(LeftOut(path, why_unreadable(source / path)))
            del found[path]
    return found


def _own(source: Path, paths: list[str], left_out: list[LeftOut]) -> Iterator[tuple[str, Fix]]:
    """Positions that the photos come with: in an images.csv, or in their EXIF blocks."""
    if (source / TABLE).is_file():
        table = read_images(source, left_out).with_positions()
        for i, path in enumerate(table.paths):
            problem = position_problem(table.lat[i], table.lon[i])
            if problem:
                left_out.append(LeftOut(path, problem))
            else:
                yield path, Fix(table.lat[i], table.lon[i], table.heading[i], table.time[i])
        known = {*table.paths, *(item.path for item in left_out)}
        left_out += [LeftOut(path, f"not named in {TABLE}") for path in paths if path not in known]
        return
    for path in paths:
        try:
            exif = read_exif(source / path)
        except DataError:
            left_out.append(LeftOut(path, why_unreadable(source / path)))
            continue
        if exif.problem:
            left_out.append(LeftOut(path, exif.problem))
        else:
            yield path, Fix(exif.lat, exif.lon, exif.heading, exif.time)


def _along(
    source: Path,
    paths: list[str],
    positions: Path,
    clock_offset_s: float | None,
    left_out: list[LeftOut],
) -> Iterator[tuple[str, Fix]]:
    """Positions between track points, by the photos' times; none across a gap of the track."""
    tracks = read_gpx(positions, left_out)
    for path in paths:
        try:
            exif = read_exif(source / path)
        except DataError:
            left_out.append(LeftOut(path, why_unreadable(source / path)))
            continue
        ahead = 0.0 if math.isnan(exif.utc_offset_s) else exif.utc_offset_s
        moment = seconds_since_1970(exif.time)
        moment += -ahead if clock_offset_s is None else clock_offset_s
        here = "no usable EXIF time" if math.isnan(moment) else along(tracks, moment)
        problem = here if isinstance(here, str) else position_problem(*here)
        if problem or isinstance(here, str):
            left_out.append(LeftOut(path, problem))
        else:
            yield path, Fix(*here, heading=exif.heading, time=iso_utc(moment))
