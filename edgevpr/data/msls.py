"""Reader of Mapillary Street-Level Sequences in its original layout, validation cities.

``train_val/<city>/{database,query}/{postprocessed.csv,raw.csv,images/<key>.jpg}``; Warburg et al.,
CVPR 2020. The full validation protocol takes every image of Copenhagen and San Francisco that is no
panorama.
"""

from pathlib import Path

from edgevpr.data.image_files import missing_images
from edgevpr.data.readings import real
from edgevpr.errors import DataError
from edgevpr.places.csv_rows import csv_rows
from edgevpr.places.table import ImageTable, concat

CITIES = ("cph", "sf")
SIDES = ("database", "query")


def is_msls(root: Path) -> bool:
    """Whether a folder is MSLS, or its train_val."""
    return _train_val(root) is not None


def read_msls_val(root: Path) -> tuple[ImageTable, ImageTable]:
    """(database, queries) of the validation cities; paths are relative to ``root``.

    Raises:
        DataError: a city, a table or an image is missing.
    """
    base = _train_val(root)
    if base is None:
        raise DataError(f"found no train_val/{CITIES[0]} in {root}, expected MSLS: check the path")
    tables = [concat([_side(root, base / city / side) for city in CITIES]) for side in SIDES]
    return tables[0], tables[1]


def _train_val(root: Path) -> Path | None:
    for base in (Path(root) / "train_val", Path(root)):
        if (base / CITIES[0] / SIDES[0] / "postprocessed.csv").is_file():
            return base
    return None


def _side(root: Path, folder: Path) -> ImageTable:
    places, raw = (_rows(folder / name) for name in ("postprocessed.csv", "raw.csv"))
    rows = [
        (key, row, raw[key])
        for key, row in places.items()
        if key in raw and raw[key].get("pano", "False") != "True"
    ]
    relative = folder.relative_to(root).as_posix()
    paths = [f"{relative}/images/{key}.jpg" for key, _, _ in rows]
    missing_images(root, paths, str(folder / "postprocessed.csv"))
    # MSLS's own easting and northing are UTM too, but without the zone: degrees give it.
    return ImageTable.build(
        paths,
        lat=[real(r.get("lat")) for _, _, r in rows],
        lon=[real(r.get("lon")) for _, _, r in rows],
        heading=[real(r.get("ca")) for _, _, r in rows],
    ).with_positions()


def _rows(file: Path) -> dict[str, dict[str, str]]:
    if not file.is_file():
        raise DataError(f"found no {file}, expected it beside images/: unpack the archive again")
    lines = csv_rows(file)
    header = next(lines, (1, []))[1]
    if "key" not in header:
        raise DataError(
            f"found the columns {', '.join(header) or '(none)'} in {file}, expected key among "
            "them: unpack the archive again"
        )
    rows = (dict(zip(header, cells, strict=False)) for _, cells in lines)
    return {row["key"]: row for row in rows}
