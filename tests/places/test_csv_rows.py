"""Rows of tables in every encoding that programs write."""

from pathlib import Path

import pytest

from edgevpr.errors import DataError
from edgevpr.places.csv_rows import csv_rows, recoded


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes("path,place\r\ncaf\xe9.jpg,1\r\n".encode(encoding))
    assert list(csv_rows(tmp_path / "t.csv")) == [(1, ["path", "place"]), (2, ["caf\xe9.jpg", "1"])]


def test_latin_1_is_kept_until_it_is_asked_for(tmp_path: Path) -> None:
    """A name of these very bytes may be on the disk."""
    (tmp_path / "t.csv").write_bytes(b"path\ncaf\xe9.jpg\n")
    cell = list(csv_rows(tmp_path / "t.csv"))[1][1][0]
    assert cell.encode("utf-8", "surrogateescape") == b"caf\xe9.jpg"
    assert recoded(cell) == "caf\xe9.jpg"
    assert recoded("caf\xe9 \u4e2d.jpg") == "caf\xe9 \u4e2d.jpg"


def test_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    """As Excel writes them in most of Europe, with and without its first line."""
    for start in ("", "sep=;\n"):
        (tmp_path / "t.csv").write_text(f"{start}path;lat\na,b.jpg;52,5\n;\n\n")
        cells = [row for _, row in csv_rows(tmp_path / "t.csv")]
        assert cells == [["path", "lat"], ["a,b.jpg", "52.5"]]


def test_what_is_no_table(tmp_path: Path) -> None:
    """Never another exception than the sentence."""
    (tmp_path / "t.csv").write_text("path\n" + "x" * 200_000)
    with pytest.raises(DataError, match="no table in"):
        list(csv_rows(tmp_path / "t.csv"))
    with pytest.raises(DataError, match="Is a directory"):
        list(csv_rows(tmp_path))
    (tmp_path / "e.csv").write_bytes(b"")
    assert list(csv_rows(tmp_path / "e.csv")) == []
