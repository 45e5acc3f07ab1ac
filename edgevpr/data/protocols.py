"""Named evaluation protocols: image counts, and the rule for positives.

Results on one data set differ between papers where copies of it were cut differently. A protocol
has a name, counts that are checked, and a rule for positives.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgevpr.data.image_files import list_images
from edgevpr.data.msls import is_msls, read_msls_val
from edgevpr.data.pittsburgh import pittsburgh_file, read_pittsburgh
from edgevpr.data.read import read_images
from edgevpr.errors import DataError, UsageError
from edgevpr.places.positives import positives
from edgevpr.places.table import ImageTable
from edgevpr.printable import counted, shell_word

#: Names under which published data sets keep gallery and queries.
FOLDERS = (("database", "queries"), ("ref", "query"), ("new", "old"))


@dataclass(frozen=True)
class Protocol:
    """One way of evaluating on one data set.

    ``radius_m`` metres make a positive, or, where it is None, at most ``frames`` frames between
    query and gallery image: 0 frames are pairs of equal rank.
    """

    name: str
    database: int
    queries: int
    used_by: str
    radius_m: float | None = 25.0
    frames: int = 0
    #: folder below images/ of a converted data set.
    split: str = "test"

    @property
    def rule(self) -> str:
        if self.radius_m is not None:
            return f"within {self.radius_m:g} m"
        return (
            f"within {counted(self.frames, 'frame')}"
            if self.frames
            else "the image of the same rank"
        )


def _nordland(frames: int, queries: int, used_by: str) -> Protocol:
    name = f"nordland-{frames}" if queries == 2760 else f"nordland-{frames}-full"
    return Protocol(name, 27592, queries, used_by, None, frames)


#: Counts as the data sets' authors or the papers named state them.
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("pitts30k-val", 10000, 7608, "NetVLAD and its successors", split="val"),
        Protocol("pitts30k", 10000, 6816, "NetVLAD, MixVPR, SALAD, BoQ"),
        Protocol("pitts250k-val", 78648, 7608, "NetVLAD and its successors", split="val"),
        Protocol("pitts250k", 83952, 8280, "NetVLAD, SALAD, BoQ; Kim, Cho and Yoon (Table 1)"),
        Protocol("msls-val", 18871, 740, "MixVPR, SALAD, BoQ", split="val"),
        Protocol("msls-val-full", 18871, 11084, "the benchmark of Berton, 2022", split="val"),
        Protocol("tokyo247", 75984, 315, "24/7 place recognition; Kim, Cho and Yoon (Table 1)"),
        _nordland(1, 2760, "Kim, Cho and Yoon (the figures of Table 1); BoQ; VPR-Bench"),
        _nordland(2, 2760, "papers that allow two frames"),
        _nordland(3, 2760, "Kim, Cho and Yoon (as their text says it)"),
        _nordland(10, 27592, "papers that allow ten frames, every frame a query"),
        _nordland(1, 27592, "papers that allow one, every frame a query"),
        Protocol("amstertime", 1231, 1231, "Yildiz et al., 2022", None, 0),
        Protocol("sped", 607, 607, "VPR-Bench", None, 0),
        Protocol("eynsham", 23935, 23935, "Cummins, 2009; Berton et al., 2023"),
        Protocol("sf-xl-v1", 2805840, 1000, "CosPlace, EigenPlaces"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """Gallery and queries of a protocol; ``root`` is the folder their paths are relative to."""

    protocol: Protocol
    root: Path
    database: ImageTable
    queries: ImageTable

    def positives(self) -> list[NDArray[np.int64]]:
        """For each query, the gallery rows that answer it."""
        if self.protocol.radius_m is not None:
            return positives(self.queries, self.database, self.protocol.radius_m)
        return positives_by_frame(len(self.queries), len(self.database), self.protocol.frames)


def positives_by_frame(queries: int, database: int, frames: int) -> list[NDArray[np.int64]]:
    """Rows within ``frames`` of each query's own, images in the order of their names.

    Where there are fewer queries than gallery images they are every n-th frame (2,760 of Nordland's
    27,592: every tenth).
    """
    step = max(1, round(database / max(1, queries)))
    own = np.arange(queries) * step
    return [
        np.arange(max(0, row - frames), min(database, row + frames + 1), dtype=np.int64)
        for row in own
    ]


def protocol(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        UsageError: no such protocol; lists those with a similar name, or all.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = [known for known in PROTOCOLS if known.startswith(name.partition("-")[0].lower())]
    raise UsageError(
        f"found the protocol {name!r}, expected {'perhaps' if near else 'one of'} "
        f"{', '.join(near or PROTOCOLS)}: correct it, or see edgevpr data list"
    )


def open_protocol(name: str, root: Path) -> Evaluation:
    """Read a data set for a protocol and check its counts.

    Understands ``images/<split>/{database,queries}`` and ``{database,queries}`` with ``@utm``
    names, ``{ref,query}`` and ``{new,old}`` folders of numbered images, and the original layouts
    of MSLS and Pittsburgh.

    Raises:
        UsageError: no such protocol.
        DataError: the folders are missing, or the counts are another protocol's (which is named).
    """
    wanted = protocol(name)
    found = read_evaluation(wanted, root)
    counts = (len(found.database), len(found.queries))
    if counts != (wanted.database, wanted.queries):
        others = [p.name for p in PROTOCOLS.values() if (p.database, p.queries) == counts]
        hint = (
            f"pass {' or '.join(others)}, which has these counts"
            if others
            else f"see what is missing with edgevpr data check {name} {shell_word(root)}"
        )
        raise DataError(
            f"found {counts[0]:,} database and {counts[1]:,} query images in {root}, expected "
            f"{wanted.database:,} and {wanted.queries:,} for {name}: {hint}"
        )
    return found


def read_evaluation(wanted: Protocol, root: Path) -> Evaluation:
    """A data set as ``open_protocol`` reads it, whatever its counts are."""
    root = Path(root)
    if wanted.name.startswith("msls") and is_msls(root):
        database, queries = read_msls_val(
            root, subtask="all" if wanted.name == "msls-val" else None
        )
        return Evaluation(wanted, root, database, queries)
    if wanted.name.startswith("pitts"):
        file = pittsburgh_file(root, wanted.name.removesuffix("-val"), wanted.split)
        if file is not None:
            return Evaluation(wanted, root, *read_pittsburgh(root, file))
    for folder in (root / "images" / wanted.split, root / wanted.split, root):
        for pair in FOLDERS:
            if all((folder / name).is_dir() for name in pair):
                return _read(wanted, folder, pair)
    raise DataError(
        f"found none of {', '.join('/'.join(pair) for pair in FOLDERS)} in {root} or its "
        f"images/{wanted.split}, expected the data set of {wanted.name}: check the path"
    )


def _read(wanted: Protocol, folder: Path, pair: tuple[str, str]) -> Evaluation:
    tables = []
    for name in pair:
        if wanted.radius_m is not None:
            table = read_images(folder / name)
        else:
            table = _in_frame_order(folder / name)
        tables.append(replace(table, paths=[f"{name}/{path}" for path in table.paths]))
    return Evaluation(wanted, folder, tables[0], tables[1])


def _in_frame_order(folder: Path) -> ImageTable:
    """Images of a folder in the order of the numbers in their names; position is not asked for."""

    def order(path: str) -> tuple[object, ...]:
        parts = re.split(r"(\d+)", PurePosixPath(path).stem)
        return tuple(int(p) if p.isdigit() else p for p in parts)

    paths = list_images(folder)
    try:
        paths = sorted(paths, key=order)
    except TypeError:  # names with and without a leading number
        paths = sorted(paths)
    return ImageTable.build(paths, place=np.arange(len(paths)))


@dataclass(frozen=True)
class Check:
    """Result of ``edgevpr data check``."""

    protocol: str
    used_by: str
    rule: str
    expected: tuple[int, int]
    found: tuple[int, int]
    #: queries that no gallery image answers.
    without_positives: int
    #: protocols whose counts these are.
    matches: list[str]
    #: deviations from the protocol, in sentences.
    problems: list[str]


def check(name: str, root: Path, *, unreadable: Callable[[Path], bool] | None = None) -> Check:
    """Compare a folder with a protocol.

    Args:
        unreadable: whether an image file cannot be read; None: files are not opened.
    """
    wanted = protocol(name)
    found = read_evaluation(wanted, root)
    counts = (len(found.database), len(found.queries))
    matches = [p.name for p in PROTOCOLS.values() if (p.database, p.queries) == counts]
    problems = []
    for what, have, want in (
        ("database", counts[0], wanted.database),
        ("queries", counts[1], wanted.queries),
    ):
        if have != want:
            verb = "are missing" if have < want else "are too many"
            problems.append(f"{what}: {abs(want - have):,} of {want:,} images {verb}")
    if problems and matches:
        problems.append(f"the counts are those of {', '.join(matches)}")
    alone = sum(len(good) == 0 for good in found.positives())
    if unreadable is not None:
        for table in (found.database, found.queries):
            bad = [path for path in table.paths if unreadable(found.root / path)]
            if bad:
                problems.append(
                    f"{counted(len(bad), 'image')} cannot be read, the first is {bad[0]}"
                )
    return Check(
        protocol=name,
        used_by=wanted.used_by,
        rule=wanted.rule,
        expected=(wanted.database, wanted.queries),
        found=counts,
        without_positives=alone,
        matches=matches,
        problems=problems,
    )


@dataclass(frozen=True)
class City:
    """One city of GSV-Cities."""

    city: str
    places: int
    images: int
    #: images that cannot be read; none where they were not opened.
    unreadable: list[str]


def check_gsv(root: Path, *, unreadable: Callable[[Path], bool] | None = None) -> list[City]:
    """Places and images of each city of a GSV-Cities folder; missing images are refused.

    Args:
        unreadable: whether an image file cannot be read; None: files are not opened.
    """
    from edgevpr.data.gsv import is_gsv_cities, read_gsv_cities

    root = Path(root)
    if not is_gsv_cities(root):
        raise DataError(
            f"found no Dataframes/ and Images/ in {root}, expected GSV-Cities: check the path"
        )
    cities = []
    for file in sorted((root / "Dataframes").glob("*.csv")):
        table = read_gsv_cities(root, [file.stem])
        bad = [] if unreadable is None else [p for p in table.paths if unreadable(root / p)]
        cities.append(City(file.stem, len(np.unique(table.place)), len(table), bad))
    return cities
