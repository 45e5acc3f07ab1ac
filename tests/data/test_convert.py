"""Photos with positions of every kind, as an @utm folder."""

import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevpr.data import read_images
from edgevpr.data.convert import Converted, convert
from edgevpr.errors import DataError, UsageError

from .photos import Image, write_gpx, write_photo


def _photo(path: Path, time: str = "") -> None:
    write_photo(path, time=time)


def _left_out(made: Converted) -> dict[str, str]:
    return {item.path: item.reason for item in made.left_out}


def _read(folder: Path) -> dict[str, tuple[float, float]]:
    table = read_images(folder)
    return {
        path.rpartition("@")[0].rpartition("@")[2]: (table.lat[i], table.lon[i])
        for i, path in enumerate(table.paths)
    }


def test_csv(tmp_path: Path) -> None:
    """Photos in sub-folders are found, and columns under other names."""
    for name in ("a.jpg", "walk/b.jpg", "c.jpg"):
        _photo(tmp_path / "photos" / name)
    table = tmp_path / "where.csv"
    table.write_text("Filename,Latitude,Longitude,heading\na.jpg,48.1,11.5,90\nb,48.2,11.6,\n")
    made = convert(tmp_path / "photos", tmp_path / "out", positions=table)
    assert made.images == 2
    assert _left_out(made) == {"c.jpg": "not named in where.csv"}
    found = _read(tmp_path / "out")
    assert found["a"] == pytest.approx((48.1, 11.5), abs=1e-5)
    assert found["walk_b"] == pytest.approx((48.2, 11.6), abs=1e-5)
    assert 90.0 in read_images(tmp_path / "out").heading


def test_kml(tmp_path: Path) -> None:
    """Longitude comes first in KML."""
    _photo(tmp_path / "photos" / "a.jpg")
    kml = tmp_path / "marks.kml"
    kml.write_text(
        '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><name>a.jpg</name>'
        "<Point><coordinates>11.5,48.1,500</coordinates></Point></Placemark></Document></kml>"
    )
    convert(tmp_path / "photos", tmp_path / "out", positions=kml)
    assert _read(tmp_path / "out")["a"] == pytest.approx((48.1, 11.5), abs=1e-5)


def _gpx(path: Path) -> Path:
    points = ((0, 48.0, 179.999), (10, 48.001, -179.999))
    return write_gpx(path, [(lat, lon, f"2024-05-01T10:00:{s:02d}Z") for s, lat, lon in points])


def test_gpx_between_points_and_over_the_date_line(tmp_path: Path) -> None:
    """Positions are interpolated."""
    _photo(tmp_path / "photos" / "a.jpg", "2024:05:01 12:00:05")
    _photo(tmp_path / "photos" / "late.jpg", "2024:05:01 13:00:00")
    _photo(tmp_path / "photos" / "untimed.jpg")
    track = _gpx(tmp_path / "walk.gpx")
    made = convert(tmp_path / "photos", tmp_path / "out", positions=track, clock_offset_s=-7200)
    assert _left_out(made) == {
        "late.jpg": "no track point near its time",
        "untimed.jpg": "no usable EXIF time",
    }
    lat, lon = _read(tmp_path / "out")["a"]
    assert lat == pytest.approx(48.0005, abs=1e-5)
    assert abs(lon) == pytest.approx(180.0, abs=1e-4)
    assert read_images(tmp_path / "out").time == ["2024-05-01T10:00:05"]


def test_exif_of_real_photos(shared: Path, tmp_path: Path) -> None:
    """Positions come back from the names."""
    made = convert(shared / "data" / "lund", tmp_path / "out")
    assert made.images > 0
    before = read_images(tmp_path / "out")
    assert np.isfinite(before.lat).all()
    assert cv2.imread(str(tmp_path / "out" / before.paths[0])) is not None


def test_refusals_leave_nothing(tmp_path: Path) -> None:
    """And write over nothing."""
    _photo(tmp_path / "photos" / "a.jpg")
    with pytest.raises(DataError, match=r"any of the 1 photos.*`clock_offset_s`"):
        convert(tmp_path / "photos", tmp_path / "out", positions=_gpx(tmp_path / "w.gpx"))
    with pytest.raises(DataError, match="any of the 1 photos"):
        convert(tmp_path / "photos", tmp_path / "out")
    bad = tmp_path / "bad.csv"
    bad.write_text("path,lat,lon\na.jpg,98,0\n")
    with pytest.raises(DataError, match=r"latitude 98 and longitude 0, .*bad\.csv, line 2"):
        convert(tmp_path / "photos", tmp_path / "out", positions=bad)
    bad.write_text("path,lat\na.jpg,8\n")
    with pytest.raises(DataError, match="expected one of lon"):
        convert(tmp_path / "photos", tmp_path / "out", positions=bad)
    (tmp_path / "bad.gpx").write_text("<gpx")
    with pytest.raises(DataError, match="no XML"):
        convert(tmp_path / "photos", tmp_path / "out", positions=tmp_path / "bad.gpx")
    (tmp_path / "p.txt").write_text("")
    with pytest.raises(UsageError, match=r"\.txt file"):
        convert(tmp_path / "photos", tmp_path / "out", positions=tmp_path / "p.txt")
    assert not (tmp_path / "out").exists()
    bad.write_text("path,lat,lon\na.jpg,8,0\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="free place"):
        convert(tmp_path / "photos", tmp_path / "out", positions=bad)


def test_hemispheres_that_photos_do_not_say(tmp_path: Path) -> None:
    """Catches photos of Chile in Afghanistan, and of nowhere in the Gulf of Guinea."""
    refs = {
        "plain": ("S", "W"),
        "padded": ("S\0\0", "W\0\0"),
        "word": ("South", "West"),
        "missing": (None, None),
        "binary": ("\1", "\1"),
        "crossed": ("W", "S"),
    }
    for name, pair in refs.items():
        write_photo(tmp_path / "p" / f"{name}.jpg", 33.5, 70.6, pair)
    write_photo(tmp_path / "p" / "zero.jpg", 0.0, 0.0)
    write_photo(tmp_path / "p" / "void.jpg", 33.5, 70.6, gps={9: "V"})
    made = convert(tmp_path / "p", tmp_path / "out")
    assert set(_left_out(made)) == {
        f"{n}.jpg" for n in ("missing", "binary", "crossed", "zero")
    } | {"void.jpg"}
    found = _read(tmp_path / "out")
    assert sorted(found) == ["padded", "plain", "word"]
    assert np.array(list(found.values())) == pytest.approx(np.array([[-33.5, -70.6]] * 3), abs=1e-4)


@pytest.mark.parametrize(
    ("exif", "minutes"),
    [
        ({0x9011: "+02:00"}, 10),
        ({0x9010: "+02:00"}, 10),
        ({0x9012: "+02:00", 0x9004: "2024:05:01 12:10:00"}, 10),
        ({0x9012: "+02:00", 0x9004: "2024:05:01 13:10:00"}, 130),  # digitized elsewhere
        ({0x9011: "   :  "}, 130),
        ({}, 130),
    ],
)
def test_the_zone_of_the_clock(tmp_path: Path, exif: dict[int, str], minutes: int) -> None:
    """A photo of 12:10 at +02:00 was taken at 10:10 UTC: 13 km from where the car was at 12:10."""
    write_photo(tmp_path / "p" / "a.jpg", time="2024:05:01 12:10:00", exif=exif)
    points = [
        (52.5 + i * 0.001, 13.4, f"2024-05-01T{10 + i // 60:02d}:{i % 60:02d}:00Z")
        for i in range(180)
    ]
    track = write_gpx(tmp_path / "day.gpx", points)
    convert(tmp_path / "p", tmp_path / "out", positions=track)
    assert _read(tmp_path / "out")["a"][0] == pytest.approx(52.5 + minutes * 0.001, abs=1e-5)
    convert(tmp_path / "p", tmp_path / "told", positions=track, clock_offset_s=-3600)
    assert _read(tmp_path / "told")["a"][0] == pytest.approx(52.57, abs=1e-5)


def test_times_of_no_clock_leave_the_rest(tmp_path: Path) -> None:
    for name, time in (("good", "2024:05:01 10:10:00"), ("unset", "0000:00:00 00:00:00")):
        write_photo(tmp_path / "p" / f"{name}.jpg", time=time)
    write_photo(tmp_path / "p" / "hour24.jpg", time="2024:05:01 24:00:00")
    write_photo(tmp_path / "e" / "unset.jpg", 52.5, 13.4, time="0000:00:00 00:00:00")
    points = [(52.5, 13.4, "2024-05-01T10:09:50Z"), (52.501, 13.4, "2024-05-01T10:10:10Z")]
    track = write_gpx(tmp_path / "ok.gpx", points)
    made = convert(tmp_path / "p", tmp_path / "out", positions=track)
    assert made.images == 1
    assert set(_left_out(made).values()) == {"no usable EXIF time"}
    convert(tmp_path / "e", tmp_path / "own")
    assert read_images(tmp_path / "own").time == [""]


def test_names_that_collide(tmp_path: Path) -> None:
    """Catches photos that overwrite each other; also where the disk does not tell x from X."""
    names = (
        "a/b.jpg",
        "a_b.jpg",
        "x.jpg",
        "x.JPG",
        "X.jpg",
        "caf\u00e9.jpg",
        "cafe\u0301.jpg",
        "l" * 220 + "1.jpg",
        "l" * 220 + "2.jpg",
    )
    for name in names:
        write_photo(tmp_path / "p" / name, 52.5, 13.4)
    made = convert(tmp_path / "p", tmp_path / "out")
    written = [file.name for file in (tmp_path / "out").iterdir()]
    alike = {unicodedata.normalize("NFC", name.casefold()) for name in written}
    assert made.images == len(names) == len(alike)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("Shot at 1.02\u202fPM.jpg", "Shot at 1.02_PM"),
        ("place=1.jpg", "_place=1"),
        ("a@b.jpg", "a_b"),
        (b"caf\xe9.jpg".decode("utf-8", "surrogateescape"), "caf_xe9"),
        ("\u00fc" * 110 + ".jpg", ""),
        ("L" * 240 + ".jpg", ""),
        ("noon.JFIF", "noon"),
    ],
)
def test_names_that_a_note_cannot_hold(tmp_path: Path, name: str, note: str) -> None:
    write_photo(tmp_path / "a.jpg", 52.5, 13.4)
    (tmp_path / "p").mkdir()
    (tmp_path / "a.jpg").rename(tmp_path / "p" / name)
    assert convert(tmp_path / "p", tmp_path / "out").images == 1
    found = next(iter(_read(tmp_path / "out")))
    assert found == note if note else set(found) <= {"\u00fc", "L"}


def test_one_bad_photo_leaves_the_rest(tmp_path: Path) -> None:
    """Named with the reason; ``strict`` ends with nothing written."""
    folder = tmp_path / "p"
    write_photo(folder / "good.jpg", 52.5, 13.4)
    write_photo(folder / "north.jpg", 89.9, 13.4)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("text")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "dead.jpg").symlink_to("nowhere")
    (folder / "phone.HEIC").touch()
    Image.new("1", (16000, 12000)).save(folder / "pano.png")
    made = convert(folder, tmp_path / "out")
    assert made.images == 1
    assert _left_out(made) == {
        "phone.HEIC": "HEIC is not read: convert it to JPEG",
        "cut.jpg": "not a complete image",
        "dead.jpg": "a link to nothing",
        "empty.jpg": "an empty file",
        "north.jpg": "latitude 89.9, where UTM is not defined (-80 to 84)",
        "pano.png": "no position",
        "text.jpg": "not an image",
    }
    with pytest.raises(DataError, match=r"7 left out .*`strict`"):
        convert(folder, tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_a_table_beside_the_photos(tmp_path: Path) -> None:
    """Rows without photos and photos without rows are named."""
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write_photo(tmp_path / "p" / name)
    rows = "path,lat,lon\na.jpg,52.5,13.4\nb.jpg,,\nd.jpg,52.5,13.4\n"
    (tmp_path / "p" / "images.csv").write_text(rows)
    made = convert(tmp_path / "p", tmp_path / "out")
    assert made.images == 1
    assert _left_out(made) == {
        "b.jpg": "no place in images.csv",
        "c.jpg": "not named in images.csv",
        "d.jpg": "named in images.csv, but there is no such file",
    }
