"""read_images: layouts recognised, and refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgevpr.artifacts.folder import write_artifact
from edgevpr.data import read_images
from edgevpr.data.left_out import LeftOut
from edgevpr.errors import DataError
from edgevpr.places.positives import positives
from edgevpr.places.table import ImageTable

from . import test_gsv

Touch = Callable[..., Path]


def test_a_table_of_places_without_coordinates(touch: Touch) -> None:
    """The way in for indoor data: catches a reader that insists on coordinates."""
    root = touch("walk1/0.jpg", "walk1/1.jpg", "not listed.jpg")
    ImageTable.build(["walk1/1.jpg", "walk1/0.jpg"], place=[4, 9]).save(root / "images.csv")
    table = read_images(root)
    assert table.paths == ["walk1/1.jpg", "walk1/0.jpg"], "in the order of the table"
    assert table.place.tolist() == [4, 9]
    assert not table.located.any()
    assert [rows.tolist() for rows in positives(table, table)] == [[0], [1]]


def test_a_table_of_degrees(touch: Touch) -> None:
    """A GPS log needs no conversion to UTM."""
    root = touch("a.jpg", "b.jpg")
    (root / "images.csv").write_text("path,lat,lon\na.jpg,55.7,13.2\nb.jpg,55.7,13.2001\n")
    table = read_images(root)
    assert set(table.zone.tolist()) == {33}
    assert len(positives(table, table)[0]) == 2
    assert (table.place > 0).all()


def test_a_table_comes_before_names(touch: Touch) -> None:
    """An images.csv corrects file names."""
    root = touch("@1@2@.jpg")
    ImageTable.build(["@1@2@.jpg"], place=[7]).save(root / "images.csv")
    assert read_images(root).place.tolist() == [7]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "path,place\na.jpg,1\nx.jpg,1\ny.jpg,2\n",
            r"^found 2 of the 3 images .*first being x",
        ),
        (
            "path,place\na.jpg,\n",
            r"^found 1 of the 1 rows .*without a place.*first being a\.jpg",
        ),
        ("path,place\n", "no image named"),
        ("file,place\na.jpg,1\n", "columns file, place in .*, expected at least path"),
        ("path,lat,lon\na.jpg,155,13\n", "found latitude 155"),
    ],
)
def test_a_table_that_cannot_be_used(touch: Touch, content: str, message: str) -> None:
    root = touch("a.jpg")
    (root / "images.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_images(root)


def test_rows_that_cannot_be_used_are_named(touch: Touch) -> None:
    """Where the caller asks for them; the rest is read."""
    root = touch("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
    rows = (
        "path,place,lat,lon\na.jpg,,55.7,13.2\nb.jpg,,0,0\nx.jpg,1,,\nc.jpg,,155,13\nd.jpg,4,0,0\n"
    )
    (root / "images.csv").write_text(rows)
    left_out: list[LeftOut] = []
    table = read_images(root, left_out)
    assert table.paths == ["a.jpg", "d.jpg"]
    assert not table.located[1], "0, 0 is no position"
    assert {item.path for item in left_out} == {"b.jpg", "c.jpg", "e.jpg", "x.jpg"}


def test_photos_without_position_are_named(touch: Touch) -> None:
    root = touch("@1@2@.jpg", "a.jpg", "@1@x@.jpg")
    (root / "b.jpg").write_bytes(b"")
    left_out: list[LeftOut] = []
    assert read_images(root, left_out).paths == ["@1@2@.jpg"]
    reasons = {item.path: item.reason for item in left_out}
    assert reasons["a.jpg"] == "no position"
    assert reasons["b.jpg"] == "an empty file"
    assert "utm_north" in reasons["@1@x@.jpg"]


def test_a_table_in_latin_1(touch: Touch) -> None:
    """Names are looked up as the disk spells them."""
    root = touch("caf\xe9.jpg", "day/b.jpg")
    (root / "images.csv").write_bytes("path,place\ncaf\xe9.jpg,1\nday\\b.jpg,2\n".encode("latin-1"))
    assert read_images(root).paths == ["caf\xe9.jpg", "day/b.jpg"]


def test_gsv_cities_and_names_are_recognised(tmp_path: Path, touch: Touch) -> None:
    gsv = read_images(test_gsv.city(tmp_path / "gsv", test_gsv.LONDON))
    assert gsv.place.tolist() == [0, 0, 13]
    assert np.array_equal(read_images(touch("@1@2@.jpg")).xy, [[1.0, 2.0]])


def test_gallery_and_queries_are_never_read_as_one(touch: Touch) -> None:
    """Every query would find itself."""
    root = touch("database/@1@2@.jpg", "queries/@1@2@.jpg")
    with pytest.raises(DataError, match=r"found database/ and queries/.*pass .*images/database"):
        read_images(root)
    assert len(read_images(root / "database")) == 1


def test_an_artifact_is_not_a_folder_of_images(tmp_path: Path) -> None:
    """The images.csv of features names files that lie elsewhere."""
    with write_artifact(tmp_path / "f", "features") as folder:
        ImageTable.build(["a.jpg"], place=[1]).save(folder / "images.csv")
    with pytest.raises(DataError, match=r"an edgevpr artifact at .*, expected a folder of images"):
        read_images(tmp_path / "f")


def test_nothing_there(tmp_path: Path) -> None:
    """A path that is wrong, and a single image in place of a folder."""
    with pytest.raises(DataError, match="found nothing at"):
        read_images(tmp_path / "none")
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="found a file at"):
        read_images(tmp_path / "a.jpg")
