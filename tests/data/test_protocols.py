"""Protocols on miniature copies of each layout; counts are scaled down, rules are not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgevpr.data import protocols
from edgevpr.data.protocols import (
    PROTOCOLS,
    check,
    check_gsv,
    open_protocol,
    positives_by_frame,
    protocol,
    read_evaluation,
)
from edgevpr.errors import DataError, UsageError

from . import test_gsv

JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocols with a handful of images each."""
    counts = {"msls-val": (4, 2), "msls-val-full": (4, 3)}
    for name, entry in list(PROTOCOLS.items()):
        database, queries = counts.get(name, (4, 2))
        if name.startswith("nordland"):
            database, queries = (20, 2) if entry.queries == 2760 else (20, 20)
        elif entry.radius_m is None:
            database, queries = 4, 4
        elif name.endswith("val") and name.startswith("pitts"):
            database, queries = 5, 2
        changed = dataclasses.replace(entry, database=database, queries=queries)
        monkeypatch.setitem(protocols.PROTOCOLS, name, changed)


def _utm(folder: Path, count: int, start: int = 0) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        east = 500000 + 30 * (start + i)
        (folder / f"@{east:.2f}@4000000.00@17@S@@@@@@@@@@{start + i}@.jpg").write_bytes(JPEG)


def _numbered(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        (folder / f"{i}.jpg").write_bytes(JPEG)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["pitts30k", "pitts250k", "tokyo247", "eynsham", "sf-xl-v1"])
def test_converted_utm_layout(tmp_path: Path, name: str) -> None:
    """The split is the protocol's, and positives are within 25 m."""
    _utm(tmp_path / "images" / "test" / "database", 4)
    _utm(tmp_path / "images" / "test" / "queries", 2, start=1)
    _utm(tmp_path / "images" / "val" / "database", 5)
    _utm(tmp_path / "images" / "val" / "queries", 2)
    found = open_protocol(name, tmp_path)
    assert [good.tolist() for good in found.positives()] == [[1], [2]]
    assert (found.root / found.queries.paths[0]).is_file()
    with pytest.raises(DataError, match="5 database"):
        open_protocol(name, tmp_path / "images" / "val")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("frames", "rows"), [(1, [9, 10, 11]), (2, [8, 9, 10, 11, 12])])
def test_nordland_by_frames(tmp_path: Path, frames: int, rows: list[int]) -> None:
    """Names are sorted as numbers; query 1 is answered by frame 10."""
    _numbered(tmp_path / "ref", 20)
    _numbered(tmp_path / "query", 2)
    found = open_protocol(f"nordland-{frames}", tmp_path)
    assert found.positives()[1].tolist() == rows
    assert found.database.paths[10] == "ref/10.jpg"


def test_frames_of_the_whole_nordland() -> None:
    """Every tenth frame: the last query is frame 27,590."""
    good = positives_by_frame(2760, 27592, 2)
    assert good[2759].tolist() == [27588, 27589, 27590, 27591]
    assert good[0].tolist() == [0, 1, 2]
    assert positives_by_frame(27592, 27592, 10)[500].tolist() == list(range(490, 511))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "pair"), [("amstertime", ("new", "old")), ("sped", ("ref", "query"))]
)
def test_pairs(tmp_path: Path, name: str, pair: tuple[str, str]) -> None:
    """Data sets of pairs need no positions."""
    for folder in pair:
        _numbered(tmp_path / folder, 4)
    assert [g.tolist() for g in open_protocol(name, tmp_path).positives()] == [[0], [1], [2], [3]]


@pytest.mark.usefixtures("small")
def test_wrong_counts_name_the_other_protocol(tmp_path: Path) -> None:
    _utm(tmp_path / "database", 4)
    _utm(tmp_path / "queries", 3)
    with pytest.raises(DataError, match=r"pass msls-val-full, which has these counts"):
        open_protocol("msls-val", tmp_path)
    found = check("msls-val", tmp_path)
    assert found.matches == ["msls-val-full"]
    assert found.problems[0] == "queries: 1 of 2 images are too many"


@pytest.mark.usefixtures("small")
def test_check_counts_what_is_missing_and_damaged(tmp_path: Path) -> None:
    _utm(tmp_path / "database", 3)
    _utm(tmp_path / "queries", 2, start=2)
    found = check("pitts30k", tmp_path, unreadable=lambda file: "0002" not in file.name)
    assert found.problems[0] == "database: 1 of 4 images are missing"
    assert found.without_positives == 1
    assert "cannot be read" in found.problems[1]


def test_damaged_images_of_gsv_cities(tmp_path: Path) -> None:
    """Catches a check that opens none."""
    test_gsv.city(tmp_path, test_gsv.LONDON)
    assert [c.unreadable for c in check_gsv(tmp_path)] == [[]]
    found = check_gsv(tmp_path, unreadable=lambda file: file.stat().st_size == 0)
    assert len(found[0].unreadable) == found[0].images == 3


def test_published_counts() -> None:
    counts = {name: (p.database, p.queries) for name, p in PROTOCOLS.items()}
    assert counts["pitts30k"] == (10000, 6816)
    assert counts["pitts250k"] == (83952, 8280)
    assert counts["msls-val"] == (18871, 740)
    assert counts["tokyo247"] == (75984, 315)
    assert counts["nordland-1"] == (27592, 2760)
    assert counts["amstertime"] == (1231, 1231)
    assert counts["sped"] == (607, 607)
    assert np.unique([p.name for p in PROTOCOLS.values()]).size == len(PROTOCOLS)


def test_unknown_names_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="perhaps nordland-1"):
        protocol("nordland")
    with pytest.raises(DataError, match="database/queries"):
        read_evaluation(protocol("pitts30k"), tmp_path)
    with pytest.raises(DataError, match="expected GSV-Cities"):
        check_gsv(tmp_path)
