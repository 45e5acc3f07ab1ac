"""Place ids of training images."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgevpr.errors import DataError, UsageError
from edgevpr.places.table import ImageTable
from edgevpr.train.config import TrainConfig
from edgevpr.train.images import PlaceBatches
from edgevpr.train.networks.architecture import Architecture
from edgevpr.train.place_ids import neighbouring_places, places_from_positions, with_places


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


def test_places_next_to_each_other() -> None:
    """Images 20 cm or a degree apart on both sides of a border are neighbours, over north too."""
    table = ImageTable.build(
        ["a", "b", "c", "d", "e", "f", "g"],
        easting=[9.9, 10.1, 9.9, 9.9, 9.9, 31.0, 9.9],
        northing=[1] * 7,
        zone=[33] * 6 + [34],
        heading=[1, 1, 359, 91, np.nan, 1, 1],
    )
    config = TrainConfig(Path("images"), Architecture(), places_from="gps")
    placed = with_places(table, config)
    near = neighbouring_places(placed, config)
    names = dict(zip(placed.place.tolist(), table.paths, strict=True))
    found = {names[place]: "".join(sorted(names[i] for i in ids)) for place, ids in near.items()}
    # e has no heading, so it may look as any of its cell; f is two cells on, g in another zone
    assert found == {"a": "bce", "b": "ace", "c": "abe", "d": "e", "e": "abcd"}
    assert neighbouring_places(placed, dataclasses.replace(config, places_from="ids")) == {}


def test_places_next_to_each_other_are_never_in_one_batch() -> None:
    """Along a street of touching cells, each epoch still shows every place."""
    places = np.repeat(np.arange(40), 2)
    near = {i: np.array([j for j in (i - 1, i + 1) if 0 <= j < 40]) for i in range(40)}
    batches = PlaceBatches(places, 8, 2, seed=0, near=near)
    seen = set()
    for epoch in range(4):
        batches.set_epoch(epoch)
        for batch in batches:
            shown = np.unique(places[[row for _, row in batch]])
            assert len(shown) == 8
            assert np.diff(shown).min() > 1
            seen |= set(shown.tolist())
    assert seen == set(range(40))
    touching = {i: np.array([j for j in range(4) if j != i]) for i in range(4)}
    with pytest.raises(DataError, match=r"4 places that all touch"):
        PlaceBatches(places[:8], 2, 2, seed=0, near=touching)
