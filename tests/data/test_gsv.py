"""The GSV-Cities layout."""

import csv
import string
from pathlib import Path

import numpy as np
import pytest

from edgevpr.data.gsv import COLUMNS, gsv_image_name, read_gsv_cities
from edgevpr.data.left_out import LeftOut
from edgevpr.errors import DataError

LONDON = [
    ("0", "2018", "5", "7", "London", "51.5238", "-0.1290001", "OUtDxIazLYg8tyVGzP0VoA"),
    ("0", "2009", "11", "358", "London", "51.52381", "-0.129", "a-b_c"),
    ("13", "2012", "1", "90", "London", "51.6", "-0.2", "q"),
]
BOSTON = [("13", "2012", "1", "90", "Boston", "42.3", "-71.0", "p")]


def city(root: Path, rows: list[tuple[str, ...]], ext: str = ".JPG", file: str = "") -> Path:
    """Write a city's CSV and its images."""
    name = rows[0][4]
    for folder in ("Dataframes", f"Images/{name}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    with (root / "Dataframes" / f"{file or name}.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    for row in rows:
        stem = gsv_image_name(dict(zip(COLUMNS, row, strict=True)))
        (root / "Images" / name / f"{stem}{ext}").write_bytes(b"")
    return root


def test_image_names_are_those_of_the_data_set() -> None:
    """Place 7 digits, year 4, month 2, bearing 3."""
    assert gsv_image_name(dict(zip(COLUMNS, LONDON[0], strict=True))) == (
        "London_0000000_2018_05_007_51.5238_-0.1290001_OUtDxIazLYg8tyVGzP0VoA"
    )


@pytest.mark.parametrize("ext", [".JPG", ".jpg", ".jpeg"])
def test_rows_become_images(tmp_path: Path, ext: str) -> None:
    """File extensions are found in either case."""
    table = read_gsv_cities(city(tmp_path, LONDON, ext))
    assert len(table) == 3
    assert table.paths[2] == f"Images/London/London_0000013_2012_01_090_51.6_-0.2_q{ext}"
    assert all((tmp_path / path).is_file() for path in table.paths)
    assert table.place.tolist() == [0, 0, 13]
    assert table.heading.tolist() == [7, 358, 90]
    assert table.time == ["2018-05", "2009-11", "2012-01"]
    assert table.lat[0] == 51.5238
    assert table.located.all()
    assert set(table.zone.tolist()) == {30}


def test_places_are_unique_across_cities_and_stable(tmp_path: Path) -> None:
    """Ids do not depend on the cities that are read."""
    city(tmp_path, LONDON)
    city(tmp_path, BOSTON)
    table = read_gsv_cities(tmp_path)
    assert table.paths[0].startswith("Images/Boston/"), "cities in the order of their names"
    assert table.place.tolist() == [13, 10_000_000, 10_000_000, 10_000_013]
    london = read_gsv_cities(tmp_path, ["London"])
    assert london.place.tolist() == table.place.tolist()[1:]
    np.testing.assert_array_equal(london.lat, table.lat[1:])


def test_ids_with_a_city_prefix(tmp_path: Path) -> None:
    """Some CSV files add 10^5 per city to the ids, which names have modulo 10^5."""
    city(tmp_path, LONDON)
    text = (tmp_path / "Dataframes/London.csv").read_text()
    (tmp_path / "Dataframes/London.csv").write_text(text.replace("\n13,", "\n500013,"))
    table = read_gsv_cities(tmp_path)
    assert table.place.tolist() == [0, 0, 500_013]
    assert "London_0000013" in table.paths[2]


def test_degrees_as_pandas_prints_them(tmp_path: Path) -> None:
    """51.60 in the CSV, 51.6 in the name."""
    city(tmp_path, LONDON)
    text = (tmp_path / "Dataframes/London.csv").read_text()
    (tmp_path / "Dataframes/London.csv").write_text(text.replace("51.6,-0.2,", "51.60,-0.200,"))
    assert len(read_gsv_cities(tmp_path)) == 3


def test_missing_images_are_counted_once(tmp_path: Path) -> None:
    city(tmp_path, LONDON)
    for path in sorted((tmp_path / "Images" / "London").iterdir())[1:]:
        path.unlink()
    with pytest.raises(
        DataError,
        match=r"^found 2 of the 3 images .*first being Images/London/London_0000000_.*compl",
    ):
        read_gsv_cities(tmp_path)


def test_a_city_without_images(tmp_path: Path) -> None:
    """Where only the CSV files were downloaded."""
    city(tmp_path, LONDON)
    (tmp_path / "Images" / "London").rename(tmp_path / "Images" / string.ascii_letters)
    with pytest.raises(DataError, match="3 of the 3 images"):
        read_gsv_cities(tmp_path)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column(tmp_path: Path, column: str) -> None:
    city(tmp_path, LONDON)
    file = tmp_path / "Dataframes" / "London.csv"
    file.write_text(file.read_text().replace(column, "other", 1))
    with pytest.raises(DataError, match=rf"no column {column} in .*London\.csv, expected place"):
        read_gsv_cities(tmp_path)


@pytest.mark.parametrize(
    ("column", "value"),
    [("place_id", "x"), ("place_id", "-1"), ("place_id", "10000000"), ("lat", "N51"), ("lon", "")],
)
def test_a_value_that_is_no_number(tmp_path: Path, column: str, value: str) -> None:
    """The message names file, line and column."""
    row = dict(zip(COLUMNS, LONDON[2], strict=True))
    bad = tuple({**row, column: value}.values())
    city(tmp_path, [LONDON[0], bad])
    with pytest.raises(
        DataError, match=rf"'{value}' in column {column} of line 3 of .*London\.csv"
    ):
        read_gsv_cities(tmp_path)


def test_an_unknown_city(tmp_path: Path) -> None:
    city(tmp_path, LONDON)
    city(tmp_path, BOSTON)
    with pytest.raises(DataError, match=r"no city Londn .*expected some of Boston, London"):
        read_gsv_cities(tmp_path, ["Boston", "Londn"])


def test_nothing_to_read(tmp_path: Path) -> None:
    """Empty folders, and CSV files with a header alone."""
    (tmp_path / "Dataframes").mkdir()
    with pytest.raises(DataError, match="found no CSV in"):
        read_gsv_cities(tmp_path)
    (tmp_path / "Dataframes" / "A.csv").write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(DataError, match="no image named"):
        read_gsv_cities(tmp_path)


def test_whole_numbers_as_pandas_prints_them(tmp_path: Path) -> None:
    """A column with a gap becomes one of floats: 13.0."""
    rows = [tuple(f"{c}.0" if i in (0, 1, 2, 3) else c for i, c in enumerate(r)) for r in LONDON]
    city(tmp_path, LONDON)
    with (tmp_path / "Dataframes" / "London.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    assert read_gsv_cities(tmp_path).place.tolist() == [0, 0, 13]


def test_missing_images_are_named_where_asked(tmp_path: Path) -> None:
    city(tmp_path, LONDON)
    sorted((tmp_path / "Images" / "London").iterdir())[0].unlink()
    left_out: list[LeftOut] = []
    assert len(read_gsv_cities(tmp_path, left_out=left_out)) == 2
    assert len(left_out) == 1
