"""Photos with positions of every kind, as an @utm folder."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevpr.data import read_images
from edgevpr.data.convert import convert
from edgevpr.errors import DataError, UsageError

Image = pytest.importorskip("PIL.Image")


def _photo(path: Path, time: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    exif = image.getexif()
    if time:
        exif.get_ifd(0x8769)[0x9003] = time
    image.save(path, exif=exif)


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
    assert made.without_position == ["c.jpg"]
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
    points = "".join(
        f'<trkpt lat="{lat}" lon="{lon}"><time>2024-05-01T10:00:{second:02d}Z</time></trkpt>'
        for second, lat, lon in ((0, 48.0, 179.999), (10, 48.001, -179.999))
    )
    path.write_text(
        f'<gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>{points}</trkseg></trk></gpx>'
    )
    return path


def test_gpx_between_points_and_over_the_date_line(tmp_path: Path) -> None:
    """Positions are interpolated."""
    _photo(tmp_path / "photos" / "a.jpg", "2024:05:01 12:00:05")
    _photo(tmp_path / "photos" / "late.jpg", "2024:05:01 13:00:00")
    _photo(tmp_path / "photos" / "untimed.jpg")
    track = _gpx(tmp_path / "walk.gpx")
    made = convert(tmp_path / "photos", tmp_path / "out", positions=track, clock_offset_s=-7200)
    assert made.without_position == ["late.jpg", "untimed.jpg"]
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
    with pytest.raises(DataError, match=r"latitude '98' and longitude '0' in .*, row 2"):
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
