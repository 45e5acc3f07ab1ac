"""Reader of Mapillary Street-Level Sequences in its original layout, validation cities.

``train_val/<city>/{database,query}/{postprocessed.csv,raw.csv,subtask_index.csv,images/<key>.jpg}``;
Warburg et al., CVPR 2020. Two protocols take Copenhagen and San Francisco without panoramas:

- the full one takes every image, by the degrees of raw.csv (Berton et al., CVPR 2022);
- the other, which MixVPR, SALAD and BoQ report, is what the ``MSLS`` class of mapillary_sls gives
  for im2im: images of the subtask ``all`` of subtask_index.csv, by the metres of postprocessed.csv,
  without the queries that have no database image within 25 m (740 of 747).

Where their lists lie in the folder or in ``msls_val/`` (``msls_val_dbImages.npy``,
``msls_val_qImages.npy`` and ``msls_val_qIdx.npy`` of gsv-cities and SALAD, or
``msls_val_ref_image_names.npy`` and ``msls_val_query_image_names.npy`` of OpenVPRLab), the images
and their order are those of the lists. Their positives (``msls_val_pIdx.npy``,
``msls_val_ground_truth_25m.npy``) are pickles, which are not read: positives follow from the
metres.
"""

from pathlib import Path, PurePosixPath

import numpy as np

from edgevpr.data.image_files import missing_images
from edgevpr.data.name_lists import read_array, read_names
from edgevpr.data.readings import real
from edgevpr.errors import DataError
from edgevpr.places.csv_rows import csv_rows
from edgevpr.places.positives import positives_within
from edgevpr.places.table import ImageTable, concat
from edgevpr.places.utm import to_utm

CITIES = ("cph", "sf")
SIDES = ("database", "query")
_TABLES = ("postprocessed.csv", "raw.csv")
#: Lists of the database, of the queries, and of the rows of the latter that are used.
LISTS = (
    ("msls_val_dbImages.npy", "msls_val_qImages.npy", "msls_val_qIdx.npy"),
    ("msls_val_ref_image_names.npy", "msls_val_query_image_names.npy", None),
)


def is_msls(root: Path) -> bool:
    """Whether a folder is MSLS, or its train_val, with or without the tables."""
    return any((base / CITIES[0] / SIDES[0]).is_dir() for base in _bases(root))


def read_msls_val(
    root: Path, *, subtask: str | None = None, radius_m: float = 25.0
) -> tuple[ImageTable, ImageTable]:
    """(database, queries) of the validation cities; paths are relative to ``root``.

    Args:
        subtask: a column of subtask_index.csv: its images, by the metres of postprocessed.csv,
            without queries that have no database image within ``radius_m``; published lists in
            the folder stand for ``all``. None: every image.

    Raises:
        DataError: a city, a table, a column or an image is missing, or a list is a pickle.
    """
    root = Path(root)
    base = _train_val(root)
    if base is None:
        raise DataError(
            f"found no train_val/{CITIES[0]}/database/postprocessed.csv in {root}, expected MSLS "
            "with its tables: check the path, or unpack metadata.zip of MSLS there"
        )
    lists = _lists(root, base) if subtask == "all" else None
    if lists is not None:
        database, queries = (
            _listed(root, base, *named) for named in zip(SIDES, lists, strict=True)
        )
        return database, queries
    database, queries = (
        concat([_side(root, base / city / side, subtask) for city in CITIES]) for side in SIDES
    )
    if subtask is not None:
        near = positives_within(queries, database, radius_m)
        queries = queries.take(np.array([len(rows) > 0 for rows in near], dtype=bool))
    return database, queries


def _bases(root: Path) -> tuple[Path, Path]:
    return Path(root) / "train_val", Path(root)


def _train_val(root: Path) -> Path | None:
    for base in _bases(root):
        if (base / CITIES[0] / SIDES[0] / "postprocessed.csv").is_file():
            return base
    return None


def _side(root: Path, folder: Path, subtask: str | None) -> ImageTable:
    places, raw = (_rows(folder / name) for name in _TABLES)
    chosen = set(places) if subtask is None else _subtask(folder, subtask, list(places))
    keys = [
        key
        for key in places
        if key in chosen and key in raw and raw[key].get("pano", "False") != "True"
    ]
    relative = folder.relative_to(root).as_posix()
    paths = [f"{relative}/images/{key}.jpg" for key in keys]
    missing_images(root, paths, str(folder / "postprocessed.csv"))
    rows = [(places[key], raw[key]) for key in keys]
    return _table(paths, rows, by_metres=subtask is not None)


def _table(
    paths: list[str], rows: list[tuple[dict[str, str], dict[str, str]]], *, by_metres: bool
) -> ImageTable:
    """Images with the cells that postprocessed.csv and raw.csv have of each.

    The metres have no zone: that of the degrees. Where there are no metres the degrees count.
    """
    lat, lon = (np.array([real(raw.get(n)) for _, raw in rows], float) for n in ("lat", "lon"))
    easting, northing, zone, letter = to_utm(lat, lon)
    if by_metres:
        east, north = (
            np.array([real(place.get(n)) for place, _ in rows], float)
            for n in ("easting", "northing")
        )
        known = np.isfinite(east) & np.isfinite(north)
        easting, northing = np.where(known, east, easting), np.where(known, north, northing)
    return ImageTable.build(
        paths, easting=easting, northing=northing, zone=zone, letter=letter, lat=lat, lon=lon,
        heading=[real(raw.get("ca")) for _, raw in rows],
    )  # fmt: skip


def _subtask(folder: Path, subtask: str, keys: list[str]) -> set[str]:
    """Keys of a subtask; its table has a row for each of ``keys``, in their order or named."""
    file = folder / "subtask_index.csv"
    lines = list(csv_rows(file)) if file.is_file() else []
    header = lines[0][1] if lines else []
    if subtask not in header or ("key" not in header and len(lines) - 1 != len(keys)):
        raise DataError(
            f"found no {file} with a column {subtask} and a row for each of {len(keys)} images, "
            "expected it of msls-val: unpack metadata.zip of MSLS again, or use msls-val-full"
        )
    rows = [dict(zip(header, cells, strict=False)) for _, cells in lines[1:]]
    named = [row["key"] for row in rows] if "key" in header else keys
    return {key for key, row in zip(named, rows, strict=True) if row.get(subtask) == "True"}


def _lists(root: Path, base: Path) -> tuple[list[str], list[str]] | None:
    """Names of the database and of the queries in published lists; None where there are none."""
    for folder in (root, root / "msls_val", base, base / "msls_val"):
        for database, queries, used in LISTS:
            if (folder / database).is_file() and (folder / queries).is_file():
                names = read_names(folder / queries)
                if used is not None and (folder / used).is_file():
                    rows = read_array(folder / used, "iu", "row numbers")
                    if len(rows) and not 0 <= rows.min() <= rows.max() < len(names):
                        raise DataError(
                            f"found row {rows.max()} in {folder / used}, expected rows of the "
                            f"{len(names)} names of {queries}: copy both from one place again"
                        )
                    names = [names[row] for row in rows]
                return read_names(folder / database), names
    return None


def _listed(root: Path, base: Path, side: str, names: list[str]) -> ImageTable:
    """Images of a list, ``train_val/<city>/<side>/images/<key>.jpg`` or from ``<city>`` on."""
    tables = {(city, name): _rows(base / city / side / name) for city in CITIES for name in _TABLES}
    paths, rows = [], []
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        city = next((part for part in parts if part in CITIES), "")
        key = PurePosixPath(name).stem
        found = [tables[city, table].get(key) if city else None for table in _TABLES]
        if found[0] is None or found[1] is None:
            raise DataError(
                f"found {name} in a list of MSLS, and not in the tables of {base}/<city>/{side}, "
                "expected an image of them: copy the list or the tables again"
            )
        paths.append((base.relative_to(root) / Path(*parts[parts.index(city) :])).as_posix())
        rows.append((found[0], found[1]))
    missing_images(root, paths, f"the list of {side} images")
    return _table(paths, rows, by_metres=True)


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
