"""Place ids of training images."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgevpr.errors import DataError, UsageError
from edgevpr.places.table import ImageTable
from edgevpr.train.config import TrainConfig
from edgevpr.train.networks.architecture import Architecture
from edgevpr.train.place_ids import places_from_positions, with_places


def test_places_from_positions() -> None:
    """Headings of 359 and 1 degree are in different bins, unknown ones in a bin of their own."""
    table = ImageTable.build(
        ["a", "b", "c", "d", "e", "f"],
        easting=[1, 9, 11, 1, 1, np.nan],
        northing=[1, 1, 1, 1, 1, 1],
        zone=[33] * 6,
        heading=[1, 29, 1, 359, np.nan, 1],
    )
    ids = places_from_positions(table, cell_m=10, heading_deg=30)
    assert ids[0] == ids[1]
    assert len({ids[0], ids[2], ids[3], ids[4]}) == 4
    assert ids[5] == -1
    assert len(set(places_from_positions(table, heading_deg=360)[[0, 3]])) == 1
    with pytest.raises(UsageError, match="`cell_m` 0 and"):
        places_from_positions(table, cell_m=0)


def test_places_of_a_grid_and_of_some_cities() -> None:
    """Images of other cities, or without a position, have place -1."""
    table = ImageTable.build(
        ["Images/A/a.jpg", "Images/A/b.jpg", "Images/B/c.jpg", "Images/B/d.jpg"],
        place=[7, 7, 7, 9],
        easting=[1, 2, 50, np.nan],
        northing=[1, 1, 1, np.nan],
    )
    config = TrainConfig(Path("images"), Architecture())
    assert with_places(table, config).place.tolist() == [7, 7, 7, 9]
    assert with_places(table, dataclasses.replace(config, cities=("B",))).place.tolist() == [
        -1,
        -1,
        7,
        9,
    ]
    gps = with_places(table, dataclasses.replace(config, places_from="gps")).place.tolist()
    assert gps[0] == gps[1] != gps[2]
    assert gps[3] == -1
    with pytest.raises(DataError, match=r"no city C in .*expected one of A, B"):
        with_places(table, dataclasses.replace(config, cities=("C",)))
    with pytest.raises(DataError, match=r"no image with a position in"):
        with_places(table.take([3]), dataclasses.replace(config, places_from="gps"))
