"""The image table: columns, CSV, positions in degrees and metres."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevpr.errors import DataError
from edgevpr.places.table import COLUMNS, ImageTable, concat, to_latlon, to_utm


def at(lat: list[float], lon: list[float], place: list[int] | None = None) -> ImageTable:
    """A table of images at these degrees."""
    names = [f"{i}.jpg" for i in range(len(lat))]
    return ImageTable.build(names, lat=lat, lon=lon, place=place).with_positions()


def same(a: ImageTable, b: ImageTable) -> None:
    for name in a.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


number = st.floats(-1e7, 1e7) | st.just(float("nan"))
text = st.text(st.characters(blacklist_categories=("Cc", "Cs")), max_size=12)
rows = st.tuples(
    st.integers(-1, 2**62), number, number, st.integers(0, 60), st.sampled_from(["", "U", "H"]),
    number, number, number, text, text.filter(bool),
)  # fmt: skip


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(rows, max_size=6))
def test_csv_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * 10
    names = ("place", "easting", "northing", "zone", "letter", "lat", "lon", "heading", "time")
    table = ImageTable.build(columns[9], **dict(zip(names, columns[:9], strict=True)))
    path = tmp_path_factory.mktemp("t") / "images.csv"
    table.save(path)
    same(ImageTable.load(path), table)


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    """File names in another encoding."""
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    ImageTable.build([name]).save(tmp_path / "t.csv")
    assert ImageTable.load(tmp_path / "t.csv").paths == [name]


def test_load_takes_the_columns_that_are_there(tmp_path: Path) -> None:
    """With the byte order mark that Excel writes."""
    (tmp_path / "t.csv").write_text("﻿place,remark,path\r\n7,x,a/b.jpg\r\n,,c.jpg\r\n")
    table = ImageTable.load(tmp_path / "t.csv")
    assert table.paths == ["a/b.jpg", "c.jpg"]
    assert table.place.tolist() == [7, -1]
    assert not table.located.any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"columns \(none\) in .*, expected at least path"),
        ("name,place\na,1\n", "columns name, place in .*, expected at least path"),
        ("path,place\na.jpg,x\n", "'x' in column place of line 2 of .*, expected a number"),
        ("path,lat\na.jpg,1\nb.jpg,N55\n", "'N55' in column lat of line 3"),
        ("path,place\na.jpg,99999999999999999999\n", "expected a number from -1 to 92"),
        ("path,place\na.jpg,1.5\n", "'1.5' in column place of line 2"),
        ("path,zone\na.jpg,61\n", "expected a number from 0 to 60"),
        ("path,lat\na.jpg,inf\n", "'inf' in column lat of line 2"),
        ("path,place\n\n,\na.jpg,x\n", "'x' in column place of line 4"),
    ],
)
def test_load_says_what_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    """With file, line and column."""
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        ImageTable.load(tmp_path / "t.csv")


def test_integers_as_pandas_writes_them(tmp_path: Path) -> None:
    """Floats in a column with a gap, and its words for the gap."""
    text = "path,place,zone,lat\na.jpg,1.0,32.0,nan\nb.jpg,,<NA>,NaN\nc.jpg,2e0,,55.5\n"
    (tmp_path / "t.csv").write_text(text)
    table = ImageTable.load(tmp_path / "t.csv")
    assert table.place.tolist() == [1, -1, 2]
    assert table.zone.tolist() == [32, 0, 0]
    assert table.lat.tolist()[2] == 55.5


def test_load_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a CSV with the columns path, place"):
        ImageTable.load(tmp_path / "none.csv")


def test_take_and_concat() -> None:
    table = at([55.7, 55.8, 55.9], [13.1, 13.2, 13.3], [1, 2, 3])
    taken = table.take([2, 0])
    assert taken.paths == ["2.jpg", "0.jpg"]
    assert taken.place.tolist() == [3, 1]
    assert taken.lat.tolist() == [55.9, 55.7]
    same(table.take(np.array([True, False, True])), table.take([0, 2]))
    same(table.take(np.array([-1])), table.take([2]))
    same(concat([table.take([0]), table.take([]), table.take([1, 2])]), table)
    assert len(concat([])) == len(table.take([])) == len(table.take(np.zeros(3, bool))) == 0
    assert table.xy.shape == (3, 2)


def test_columns_must_fit() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        ImageTable.build(["a", "b"], place=[1])
    assert set(COLUMNS[1:]) | {"paths"} == set(ImageTable.__dataclass_fields__)


def test_positions_are_filled_in_both_directions() -> None:
    """Given metres stay; metres without a zone give no degrees."""
    e, n, z, letters = to_utm([55.7], [13.2])
    table = ImageTable.build(
        ["deg", "utm", "plane", "both", "none"],
        lat=[55.7, np.nan, np.nan, 10.0, np.nan],
        lon=[13.2, np.nan, np.nan, 20.0, np.nan],
        easting=[np.nan, e[0], 5.0, 1.0, np.nan],
        northing=[np.nan, n[0], 6.0, 2.0, np.nan],
        zone=[0, 33, 0, 33, 0],
        letter=["", "U", "", "U", ""],
    ).with_positions()
    assert table.xy[0] == pytest.approx((e[0], n[0]))
    assert (table.zone[0], table.letter[0]) == (z[0], letters[0])
    assert (table.lat[1], table.lon[1]) == pytest.approx((55.7, 13.2), abs=1e-8)
    assert np.isnan(table.lat[[2, 4]]).all()
    assert table.located.tolist() == [True, True, True, True, False]
    assert (table.easting[3], table.lat[3]) == (1.0, 10.0)


def test_latlon_of_a_real_walk_returns(shared: Path) -> None:
    from edgevpr.data import read_images

    table = read_images(shared / "data" / "lund")
    lat, lon = to_latlon(table.easting, table.northing, table.zone, table.letter)
    np.testing.assert_allclose(lat, table.lat, atol=1e-8)
    np.testing.assert_allclose(lon, table.lon, atol=1e-8)
