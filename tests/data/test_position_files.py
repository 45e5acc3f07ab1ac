"""CSV and KML as spreadsheets, exiftool and Google Earth write them."""

import math
from pathlib import Path

import pytest

from edgevpr.data.left_out import LeftOut
from edgevpr.data.position_files import Fix, csv_positions, kml_positions, match_rows
from edgevpr.errors import DataError

PHOTOS = ["a.jpg", "b.jpg"]


def _read(
    tmp_path: Path, text: str, photos: list[str] = PHOTOS, encoding: str = "utf-8"
) -> tuple[dict[str, Fix], list[str]]:
    """(fixes, what was left out) of a table."""
    file = tmp_path / "t.csv"
    file.write_bytes(text.encode(encoding))
    left_out: list[LeftOut] = []
    rows = csv_positions(file, left_out)
    return match_rows(tmp_path / "photos", photos, rows, left_out), [str(x) for x in left_out]


@pytest.mark.parametrize(
    "column",
    [
        "heading", "Angle", "yaw", "course", "bearing", "GPSImgDirection", "EXIF:GPS Img Direction",
        "compass_angle", "Heading (deg)", "heading_deg", "azimuth", "direction",
    ],
)  # fmt: skip
def test_headings_under_other_names(tmp_path: Path, column: str) -> None:
    """Catches a heading that is dropped without a word."""
    fixes, left_out = _read(tmp_path, f"file,lat,lon,{column}\na.jpg,52.5,13.4,-90\n")
    assert fixes["a.jpg"] == Fix(52.5, 13.4, 270.0)
    assert not left_out


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("file,lat,lon\na.jpg,52.5,13.4\n", "utf-16"),
        ("file,lat,lon\na.jpg,52.5,13.4\n", "utf-16-le"),
        ("file,lat,lon\na.jpg,52.5,13.4\n", "utf-8-sig"),
        ("file;lat;lon\na.jpg;52,5;13,4\n", "utf-8"),
        ("sep=;\nfile;lat;lon\na.jpg;52,5;13,4\n", "utf-8"),
        ("file\tlat\tlon\na.jpg\t52.5\t13.4\n", "utf-8"),
        ('SourceFile,GPSLatitude,GPSLongitude\n./a.jpg,"52 deg 30\' 0"" N","13.4 E"\n', "utf-8"),
        ("SourceFile,GPSLatitude,GPSLatitudeRef,GPSLongitude\na.jpg,52.5,N,13.4\n", "utf-8"),
        ("file,lat,lon\na.jpg,52.5,13.4\n,,\n\n", "utf-8"),
        ("file,lat,lon\nA.JPG,52.5,13.4\n", "utf-8"),
        ("file,lat,lon\nphotos\\a.jpg,52.5,13.4\n", "utf-8"),
        ("file,lat,lon\na,52.5,13.4\n", "utf-8"),
        ("file,lat,lon\na.jpg,52.5,13.4\na.jpg,52.5,13.4\n", "utf-8"),
    ],
)
def test_tables_in_the_wild(tmp_path: Path, text: str, encoding: str) -> None:
    fixes, left_out = _read(tmp_path, text, encoding=encoding)
    assert list(fixes) == ["a.jpg"]
    assert (fixes["a.jpg"].lat, fixes["a.jpg"].lon) == pytest.approx((52.5, 13.4))
    assert not left_out


def test_latin_1_names(tmp_path: Path) -> None:
    """In the table, on the disk, or both."""
    text = "file,lat,lon\ncaf\xe9.jpg,52.5,13.4\n"
    raw = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    for photo in ("caf\xe9.jpg", "cafe\u0301.jpg", raw):
        for encoding in ("latin-1", "utf-8"):
            assert list(_read(tmp_path, text, [photo], encoding)[0]) == [photo]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("b.jpg,,", "b.jpg: no position (t.csv, line 3)"),
        ("b.jpg,0,0", "b.jpg: latitude and longitude 0"),
        ("b.jpg,98,0", "b.jpg: latitude 98 and longitude 0, expected degrees within 90 and 180"),
        ("b.jpg,north,13", "b.jpg: latitude 'north' and longitude '13', which are no degrees"),
        ("c.jpg,52,13", "t.csv, line 3: no photo 'c.jpg'"),
        (",52,13", "t.csv, line 3: no file name"),
        ("b.jpg,52,13\nb.jpg,53,13", "b.jpg: 2 positions (t.csv, line 3 and t.csv, line 4)"),
    ],
)
def test_a_row_that_cannot_be_used(tmp_path: Path, row: str, reason: str) -> None:
    """Is counted and named; the others stay."""
    fixes, left_out = _read(tmp_path, f"file,lat,lon\na.jpg,52.5,13.4\n{row}\n")
    assert list(fixes) == ["a.jpg"]
    assert len(left_out) == 1
    assert left_out[0].startswith(reason)


def test_values_that_make_no_sense_are_unknown(tmp_path: Path) -> None:
    text = "file,lat,lon,heading,time\na.jpg,52,13,N,noon\nb.jpg,52,13,,2024:05:01 10:11:12\n"
    fixes, left_out = _read(tmp_path, text)
    assert math.isnan(fixes["a.jpg"].heading)
    assert (fixes["a.jpg"].time, fixes["b.jpg"].time) == ("", "2024-05-01T10:11:12")
    assert left_out == [
        "t.csv, line 2: the heading 'N' is no degrees: unknown",
        "t.csv, line 2: the time 'noon' is no date and time: unknown",
    ]


def test_magnetic_headings_are_unknown(tmp_path: Path) -> None:
    text = "file,lat,lon,GPSImgDirection,GPSImgDirectionRef\na.jpg,52,13,90,Magnetic North\n"
    fixes, left_out = _read(tmp_path, text)
    assert math.isnan(fixes["a.jpg"].heading)
    assert "magnetic north" in left_out[0]


def test_one_name_of_several_photos(tmp_path: Path) -> None:
    """Cameras start again at 1: only a path tells them apart. RAW and JPEG of one shot are one."""
    photos = ["day1/1.jpg", "day2/1.jpg", "day2/1.png"]
    fixes, left_out = _read(tmp_path, "file,lat,lon\n1.jpg,52,13\n", photos)
    assert not fixes
    assert left_out == ["t.csv, line 2: 2 photos are called '1.jpg': write the path"]
    fixes, _ = _read(tmp_path, "file,lat,lon\nday1/1.jpg,52,13\nday2/1,53,13\n", photos)
    assert [fix.lat for fix in fixes.values()] == [52, 53, 53]


def test_what_is_no_table(tmp_path: Path) -> None:
    for content in (b"", b"file,lat\na,1\n", b"\xff\xfe", bytes(range(256)) * 8):
        (tmp_path / "t.csv").write_bytes(content)
        with pytest.raises(DataError, match="expected"):
            csv_positions(tmp_path / "t.csv", [])


def test_placemarks(tmp_path: Path) -> None:
    """With blanks behind the commas, without coordinates, and without a point."""
    mark = "<Placemark><name>{}</name><Point><coordinates>{}</coordinates></Point></Placemark>"
    marks = [("a.jpg", "13.4, 52.5, 0"), ("b.jpg", "  "), ("c.jpg", "x,y"), ("", "1,1")]
    text = "".join(mark.format(*values) for values in marks)
    text += "<Placemark><name>d.jpg</name></Placemark>"
    (tmp_path / "m.kml").write_text(f"<kml><Document>{text}</Document></kml>")
    rows = {row.name: row for row in kml_positions(tmp_path / "m.kml")}
    assert rows["a.jpg"].fix == Fix(52.5, 13.4)
    assert [rows[name].fix for name in ("b.jpg", "c.jpg", "d.jpg")] == [None] * 3
    assert "'x,y'" in rows["c.jpg"].problem
