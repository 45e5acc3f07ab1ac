"""Places, poses and districts."""

import numpy as np
import pytest

from edgevpr.city.exact_math import Dice
from edgevpr.city.layout import drive
from edgevpr.city.layout.plan import lay_out
from edgevpr.city.layout.views import SPACING_M, choose_places, visit
from edgevpr.city.size import TRAIN_CITIES
from edgevpr.city.surfaces import facade
from edgevpr.city.surfaces.district import District


@pytest.mark.parametrize("name", ["test", "val", TRAIN_CITIES[0]])
def test_images_within_25_m_show_the_same_place(name: str) -> None:
    _, _, places = choose_places(0, name, 120)
    centres = np.array([(p.x, p.y) for p in places])
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    assert gaps[gaps > 0].min() >= SPACING_M
    shots, owner = [], []
    for place in places:
        for kind in ("train", "database", "queries", "tuning"):
            for index in range(2):
                pose, _ = visit(0, name, place, kind, index)
                shots.append((pose.x, pose.y))
                owner.append(place.number)
    points, ids = np.array(shots), np.array(owner)
    to_centres = np.linalg.norm(points[:, None] - centres[None], axis=2)
    assert (to_centres[np.arange(len(ids)), ids] < 6).all()
    to_centres[np.arange(len(ids)), ids] = np.inf
    assert to_centres.min() > 25
    between = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert between[ids[:, None] != ids[None]].min() > 25


def test_numbers_of_places_are_met_exactly() -> None:
    """Places are numbered without holes."""
    for count in (1, 40, 250):
        _, _, places = choose_places(7, "test", count)
        assert [p.number for p in places] == list(range(count))


def test_districts_share_no_building() -> None:
    """Training districts show no house of the test district."""
    seen: dict[bytes, str] = {}
    for name in (*TRAIN_CITIES[:2], "val", "test"):
        district = District(0, name, 3, 3)
        assert len(district.houses) > 100
        for house in district.houses[::6]:
            texels, _ = facade.front(house)
            assert seen.setdefault(texels.tobytes(), name) == name


def test_a_district_has_confusable_houses() -> None:
    """A wall's colour alone does not identify a place."""
    district = District(0, "test", 4, 4)
    colours = {house.style.walls for house in district.houses}
    assert len(colours) <= 5
    assert len(district.houses) > 20 * len(colours)


def test_the_drive_is_smooth_and_on_the_road() -> None:
    across, up, _ = choose_places(0, "test", 250)
    plan = lay_out(Dice(0, "test", "plan"), across, up)
    way = drive.frames(plan, 0, "test", 300)
    xy = np.array([(p.x, p.y) for p, _ in way])
    step = np.linalg.norm(np.diff(xy, axis=0), axis=1)
    assert step.max() < 1.2 * drive.SPEED_M_S / drive.RATE_HZ
    assert step.min() > 0.8 * drive.SPEED_M_S / drive.RATE_HZ
    heading = np.array([p.heading for p, _ in way])
    turn = (np.diff(heading) + 180) % 360 - 180
    assert np.abs(turn).max() < 8
    assert np.abs(turn).max() > 2, "the drive turns no corner"
    moved = np.degrees(np.arctan2(np.diff(xy[:, 0]), np.diff(xy[:, 1])))
    assert np.abs((heading[:-1] - moved + 180) % 360 - 180).max() < 10
    for x, y in xy:
        gaps = [abs(x - s.at) - s.road_half for s in plan.streets[0]]
        gaps += [abs(y - s.at) - s.road_half for s in plan.streets[1]]
        assert min(gaps) < 1.5
