"""Gallery images that answer a query, across zones, hemispheres and without coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevpr.errors import DataError
from edgevpr.places.positives import positives, positives_within, rule_of
from edgevpr.places.table import ImageTable


def at(lat: list[float], lon: list[float], place: list[int] | None = None) -> ImageTable:
    """A table of images at these degrees."""
    names = [f"{i}.jpg" for i in range(len(lat))]
    return ImageTable.build(names, lat=lat, lon=lon, place=place).with_positions()


@pytest.mark.parametrize(
    ("name", "lat", "west", "east"),
    [
        ("a zone border", 55.0, 12.0, 12.0),
        ("a zone border in the south", -33.0, 150.0, 150.0),
        ("the date line", -17.0, 180.0, -180.0),
        ("Norway", 60.0, 3.0, 3.0),
        ("Svalbard, where zone 32 is left out", 78.0, 9.0, 9.0),
    ],
)
def test_ten_metres_across(name: str, lat: float, west: float, east: float) -> None:
    """UTM metres jump by hundreds of kilometres at a zone border."""
    step = 5.0 / (111_320.0 * np.cos(np.radians(lat)))  # degrees of longitude in 5 m
    left, right = at([lat], [west - step]), at([lat, lat], [east + step, east + 40 * step])
    assert left.zone[0] != right.zone[0], name
    for queries, gallery, found in ((left, right, [0]), (right, left, [0])):
        assert positives_within(queries, gallery, 10.1)[0].tolist() == found, name
        assert positives_within(queries, gallery, 9.9)[0].tolist() == [], name
    assert positives_within(right, left, 25.0)[1].tolist() == []


def test_ten_metres_across_the_equator() -> None:
    """The false northing is 10,000 km between the two sides of a street in Kampala."""
    south, north = at([-5 / 110_574], [32.6]), at([5 / 110_574], [32.6])
    assert (south.letter, north.letter) == (["M"], ["N"])
    assert positives_within(south, north, 10.1)[0].tolist() == [0]
    assert positives_within(south, north, 9.9)[0].tolist() == []


def test_the_same_metres_in_other_zones_are_not_near() -> None:
    """Lund and Tokyo share eastings and northings."""
    query = ImageTable.build(["q"], easting=[4e5], northing=[6e6], zone=[33], letter=["U"])
    gallery = ImageTable.build(
        ["tokyo", "next", "south", "here"],
        easting=[4e5] * 4,
        northing=[6e6] * 4,
        zone=[54, 34, 33, 33],
        letter=["U", "U", "H", "U"],
    )
    assert positives_within(query, gallery)[0].tolist() == [3]


def test_unknown_zones_lie_in_the_common_one() -> None:
    """Names with east and north alone match the map they belong to."""
    bare = ImageTable.build(["q"], easting=[4e5], northing=[6e6])
    full = ImageTable.build(
        ["a", "b"], easting=[4e5, 4e5], northing=[6e6, 5e6], zone=[56, 56], letter=["H", "H"]
    )
    assert positives_within(bare, full)[0].tolist() == [0]
    assert positives_within(full, bare)[0].tolist() == [0]
    assert positives_within(bare, bare)[0].tolist() == [0]
    nowhere = ImageTable.build(["x"])
    assert positives_within(nowhere, full)[0].tolist() == []
    assert positives_within(full, nowhere)[0].tolist() == []


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(55.0, 12.0), (0.0, 6.0), (60.0, 3.0), (-17.0, 179.99)]),
    st.floats(0, 200),
)
def test_against_distances_on_the_globe(
    seed: int, centre: tuple[float, float], radius: float
) -> None:
    """The reference is the chord through a sphere.

    UTM's scale is within 0.1 % of the ground's, and a sphere's within 0.7 % of the ellipsoid's:
    pairs within 1 % of the radius may fall on either side.
    """
    rng = np.random.default_rng(seed)
    lat = centre[0] + rng.uniform(-1e-3, 1e-3, 40)
    lon = (centre[1] + rng.uniform(-1e-3, 1e-3, 40) + 180) % 360 - 180
    table = at(lat.tolist(), lon.tolist())
    queries, gallery = table.take(np.arange(10)), table.take(np.arange(10, 40))
    a, b = np.radians(table.lat), np.radians(table.lon)
    xyz = 6_371_000.0 * np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], 1)
    distance = np.linalg.norm(xyz[:10, None] - xyz[None, 10:], axis=2)
    for row, found in zip(distance, positives_within(queries, gallery, radius), strict=True):
        sure, never = row < 0.99 * radius - 1e-6, row > 1.01 * radius + 1e-6
        chosen = np.isin(np.arange(30), found)
        assert chosen[sure].all()
        assert not chosen[never].any()


def test_a_city_across_two_zones_is_quick_and_exact() -> None:
    """All 10,000 x 100,000 distances would take 8 GB. Measured: 0.2 s."""
    rng = np.random.default_rng(0)

    def scatter(n: int) -> ImageTable:
        lat, lon = 55 + rng.random(n) * 0.05, 11.98 + rng.random(n) * 0.04
        return at(lat.tolist(), lon.tolist())

    queries, gallery = scatter(10_000), scatter(100_000)
    found = positives_within(queries, gallery)
    assert set(gallery.zone.tolist()) == {32, 33}
    some = rng.permutation(len(queries))[:50]
    own = [gallery.zone == queries.zone[row] for row in some]
    for row, mine in zip(some, own, strict=True):
        delta = gallery.xy - queries.xy[row]
        expected = np.flatnonzero(mine & (np.hypot(*delta.T) <= 25.0))
        assert found[row][mine[found[row]]].tolist() == expected.tolist()


@pytest.mark.parametrize("radius", [-1.0, float("nan")])
def test_a_senseless_radius(radius: float) -> None:
    with pytest.raises(DataError, match="expected 0 or more"):
        positives_within(at([55.0], [13.0]), at([55.0], [13.0]), radius)


def test_positives_without_coordinates_are_those_of_the_same_place() -> None:
    """Unknown places match nothing."""
    queries = ImageTable.build(["a", "b", "c"], place=[3, -1, 9])
    gallery = ImageTable.build(["0", "1", "2", "3"], place=[3, -1, 4, 3])
    assert [rows.tolist() for rows in positives(queries, gallery)] == [[0, 3], [], []]


def test_positives_by_distance_whatever_the_place_ids_say() -> None:
    """Where both images have coordinates."""
    e, n = 386_000.0, 6_173_000.0
    queries = ImageTable.build(["q", "r"], easting=[e, np.nan], northing=[n, np.nan], place=[1, 2])
    gallery = ImageTable.build(
        ["near", "same id, far", "same id, nowhere", "2, far", "2, nowhere"],
        easting=[e + 20, e + 500, np.nan, e + 500, np.nan],
        northing=[n, n, np.nan, n, np.nan],
        place=[7, 1, 1, 2, 2],
    )
    assert [rows.tolist() for rows in positives(queries, gallery)] == [[0, 2], [3, 4]]


def test_the_rule_in_words() -> None:
    """Catches metres that are told of a map that has none."""
    placed, unplaced = at([55.0, 55.1], [13.0, 13.0]), ImageTable.build(["a", "b"], place=[1, 2])
    mixed = ImageTable.build(
        ["a", "b"], easting=[1.0, np.nan], northing=[1.0, np.nan], place=[1, 2]
    )
    assert rule_of(placed, placed, 10) == "within 10 m"
    assert rule_of(unplaced, unplaced) == rule_of(placed, unplaced) == "of the same place"
    assert rule_of(placed, mixed) == "within 25 m, or without coordinates of the same place"
