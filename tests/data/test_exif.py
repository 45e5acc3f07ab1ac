"""EXIF: positions of photos as cameras write them."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevpr.data.exif import Exif, read_exif
from edgevpr.errors import DataError, MissingExtraError

image_module = pytest.importorskip("PIL.Image")

LUND = {1: "N", 2: (55.0, 41.0, 53.4), 3: "E", 4: (13.0, 11.0, 43.4)}


def ifd(entries: dict[int, Any], at: int) -> bytes:
    """A TIFF directory at offset ``at``: text, tuples of numbers (as fractions), or offsets."""
    fixed, free = b"", at + 2 + 12 * len(entries) + 4
    behind = b""
    for tag, value in sorted(entries.items()):
        if isinstance(value, int):
            kind, count, data = 4, 1, struct.pack("<L", value)
        elif isinstance(value, str):
            kind, count, data = 2, len(value) + 1, value.encode() + b"\0"
        else:
            pairs = [
                part if isinstance(part, tuple) else (round(part * 100), 100) for part in value
            ]
            kind, count, data = 5, len(pairs), b"".join(struct.pack("<LL", *p) for p in pairs)
        if len(data) > 4:
            behind += data
            data = struct.pack("<L", free + len(behind) - len(data))
        fixed += struct.pack("<HHL", tag, kind, count) + data.ljust(4, b"\0")
    return struct.pack("<H", len(entries)) + fixed + bytes(4) + behind


def photo(path: Path, gps: dict[int, Any] | None = None, time: str | None = None) -> Path:
    """Write a small JPEG with these GPS tags, the EXIF block put together by hand."""
    pointers = {0x8769: 0, 0x8825: 0}
    exif_at = 8 + len(ifd(pointers, 8))
    exif = ifd({0x9003: time} if time else {}, exif_at)
    gps_at = exif_at + len(exif)
    top = {0x8769: exif_at, 0x8825: gps_at} if gps is not None else {0x8769: exif_at}
    block = (b"II*\0" + struct.pack("<L", 8) + ifd(top, 8)).ljust(exif_at, b"\0") + exif
    image = image_module.fromarray(np.zeros((8, 8, 3), np.uint8))
    image.save(path, exif=b"Exif\0\0" + block + ifd(gps or {}, gps_at))
    return path


def test_position_heading_and_time(tmp_path: Path) -> None:
    found = read_exif(photo(tmp_path / "a.jpg", {**LUND, 17: (271.5,)}, "2014:05:01 12:30:05"))
    assert found.lat == pytest.approx(55 + 41 / 60 + 53.4 / 3600)
    assert found.lon == pytest.approx(13 + 11 / 60 + 43.4 / 3600)
    assert (found.heading, found.time) == (271.5, "2014-05-01T12:30:05")


def test_south_and_west_are_negative(tmp_path: Path) -> None:
    found = read_exif(photo(tmp_path / "a.jpg", {**LUND, 1: "S", 3: "W"}))
    assert found.lat < -55
    assert found.lon < -13


@pytest.mark.parametrize(
    "gps",
    [
        None,
        {},
        {1: "N", 2: (55.0, 41.0, 53.4)},
        {**LUND, 2: (95.0, 0.0, 0.0)},
        {**LUND, 4: (181.0, 0.0, 0.0)},
        {**LUND, 2: ((0, 0), (0, 0), (0, 0))},  # receivers without a fix write 0/0
        {**LUND, 2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)},  # or 0
        {**LUND, 9: "V"},  # or say so
        {**LUND, 1: "E"},
        {**LUND, 1: "\1"},
        {2: LUND[2], 4: LUND[4]},
        {**LUND, 2: (55.0, 75.0, 0.0)},
        {**LUND, 2: (89.9, 0.0, 0.0)},
    ],
)
def test_a_photo_that_does_not_say_where(tmp_path: Path, gps: dict[int, Any] | None) -> None:
    """Unknown, not 0, 0, and never half a position."""
    assert repr(read_exif(photo(tmp_path / "a.jpg", gps))) == repr(Exif())


def test_headings_from_magnetic_north(tmp_path: Path) -> None:
    """Are up to 20 degrees off, and more."""
    path = photo(tmp_path / "a.jpg", {**LUND, 16: "M", 17: (271.5,)})
    assert np.isnan(read_exif(path).heading)
    assert read_exif(photo(tmp_path / "b.jpg", {**LUND, 16: "T", 17: (271.5,)})).heading == 271.5


def test_an_offset_behind_the_time(tmp_path: Path) -> None:
    found = read_exif(photo(tmp_path / "a.jpg", LUND, "2014:05:01 12:30:05+02:00"))
    assert (found.time, found.utc_offset_s) == ("2014-05-01T12:30:05", 7200)


def test_what_is_no_image(tmp_path: Path) -> None:
    """Pillow's exceptions become one sentence."""
    (tmp_path / "a.jpg").write_bytes(b"text")
    with pytest.raises(DataError, match=r"no readable image in .*a\.jpg .*expected.*replace"):
        read_exif(tmp_path / "a.jpg")


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device may have the runtime alone; it needs Pillow, and not all that training needs."""
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgevpr\[photos\]'"):
        read_exif(photo(tmp_path / "a.jpg"))


def test_real_photos(shared: Path) -> None:
    """Photos taken in Lund, written by other programs than Pillow."""
    photos = sorted((shared / "data" / "lund").glob("*.jpg"))
    found = [read_exif(path) for path in photos]
    assert len(found) >= 8, "photos of one walk"
    assert all(55.69 < exif.lat < 55.71 and 13.18 < exif.lon < 13.21 for exif in found)
