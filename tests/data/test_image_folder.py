"""Folders of images with positions in names or EXIF."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgevpr.data import format_utm_name, read_folder
from edgevpr.data.image_folder import number_places
from edgevpr.errors import DataError
from edgevpr.places.positives import positives_within
from edgevpr.places.table import ImageTable, concat, to_utm

Touch = Callable[..., Path]


def name(lat: float, lon: float, **more: object) -> str:
    easting, northing, zone, letter = to_utm([lat], [lon])
    return format_utm_name(
        easting[0],
        northing[0],
        int(zone[0]),
        letter[0],
        lat,
        lon,
        **more,  # type: ignore[arg-type]
    )


def test_names_become_rows(touch: Touch) -> None:
    first = name(55.7, 13.2, heading=90, time="2020-02-03", place=5)
    root = touch(f"day/{first}", f"night/{name(-33.9, 151.2, place=6)}")
    table = read_folder(root)
    assert table.paths[0] == f"day/{first}"
    assert (table.place.tolist(), table.zone.tolist()) == ([5, 6], [33, 56])
    assert table.letter == ["U", "H"]
    assert table.lat == pytest.approx([55.7, -33.9])
    assert table.heading.tolist()[0] == 90
    assert table.time == ["2020-02-03", ""]
    assert np.hypot(*(table.xy[0] - np.ravel(to_utm([55.7], [13.2])[:2]).astype(float))) < 0.01


def test_degrees_are_filled_in_from_metres(touch: Touch) -> None:
    table = read_folder(touch("@0386000.00@6173000.00@33@U@@@@@@@@@@@.jpg"))
    assert 55.6 < table.lat[0] < 55.8
    assert 13.1 < table.lon[0] < 13.3


def test_place_ids_from_positions_are_the_same_in_every_folder(touch: Touch) -> None:
    names = [name(55.7, 13.2, note="a"), name(55.7, 13.2, note="b"), name(55.701, 13.2)]
    both = read_folder(touch(*(f"x/{n}" for n in names)))
    assert both.place[0] == both.place[2] or both.place[0] == both.place[1]
    assert len(set(both.place.tolist())) == 2
    alone = read_folder(touch(f"y/{names[2]}") / "y")
    assert alone.place[0] in both.place


def test_given_ids_are_kept_and_never_met() -> None:
    """No id made from a position equals a given one."""
    plane = ImageTable.build(
        ["a", "b", "c", "d"],
        place=[0, -1, -1, -1],
        easting=[0.0, 0.0, -3.0, np.nan],
        northing=[0.0, 0.0, 4.0, np.nan],
    )
    place = number_places(plane).place
    assert place[0] == 0
    assert place[3] == -1
    assert len(set(place.tolist())) == 4
    assert place[1] >= 10**13
    # read by JSON parsers that know only doubles
    high = ImageTable.build(["a"], easting=[999_999.0], northing=[9_999_999.0], zone=[60])
    assert number_places(high).place[0] < 2**53


def test_one_position_in_two_zones_or_hemispheres_is_two_places() -> None:
    table = ImageTable.build(
        ["a", "b", "c"],
        easting=[4e5] * 3,
        northing=[6e6] * 3,
        zone=[33, 34, 33],
        letter=["U", "U", "H"],
    )
    assert len(set(number_places(table).place.tolist())) == 3


def test_photos_by_exif(shared: Path, tmp_path: Path) -> None:
    """A walk of some 40 m in Lund."""
    for i in range(1, 9):
        (tmp_path / f"{i:02d}.jpg").symlink_to(shared / "data" / "lund" / f"{i:02d}.jpg")
    table = read_folder(tmp_path)
    assert table.paths == [f"{i:02d}.jpg" for i in range(1, 9)]
    assert set(table.zone.tolist()) == {33}
    assert len(positives_within(table, table, 60.0)[0]) == 8
    assert 1 <= len(positives_within(table, table, 5.0)[0]) < 8
    assert len(set(table.place.tolist())) == 8


def test_images_without_any_place(touch: Touch) -> None:
    """The message has their number, the first, and the layouts understood."""
    root = touch(name(55.7, 13.2), "holiday/1.jpg", "holiday/2.jpg")
    with pytest.raises(DataError) as caught:
        read_folder(root)
    message = str(caught.value)
    assert message.startswith("found 2 of the 3 images")
    assert "holiday/1.jpg" in message
    for layout in ("@utm_east@utm_north", "EXIF", "images.csv", "GSV-Cities"):
        assert layout in message


def test_a_malformed_name_names_the_file(touch: Touch) -> None:
    with pytest.raises(DataError, match=r"'x' in the field utm_north of .*bad/@1@x@\.jpg"):
        read_folder(touch(name(55.7, 13.2), "bad/@1@x@.jpg"))


def test_tables_of_two_folders_go_together(touch: Touch) -> None:
    table = concat([read_folder(touch(name(55.7, 13.2))), ImageTable.build(["x"])])
    assert table.place.dtype == np.int64
    assert table.easting.dtype == np.float64
