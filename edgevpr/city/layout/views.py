"""Places of a district, and the poses from which each visit sees them."""

from dataclasses import dataclass

from edgevpr.city.exact_math import Dice, sincos
from edgevpr.city.layout.conditions import Conditions, any_year, harsh, mild
from edgevpr.city.layout.plan import Plan, lay_out
from edgevpr.city.layout.pose import Pose

#: Between two places, at least. With the largest offsets below, images of different places are
#: still more than 25 m apart: a positive within 25 m is always the same place.
SPACING_M = 38.0
LANE_M = 1.0  # places lie this far to the right of a street's axis


@dataclass(frozen=True)
class CityPlace:
    """A spot on a street and the direction its images look in: obliquely along the street."""

    number: int
    x: float
    y: float
    heading: float  # local degrees
    along: float  # local heading of the street's traffic


@dataclass(frozen=True)
class PoseSpread:
    """Largest offsets of an image from its place: metres and degrees, each way."""

    along_m: float
    across_m: float
    heading: float
    eye_m: float
    pitch: float
    roll: float


GALLERY = PoseSpread(along_m=3.0, across_m=0.9, heading=11.0, eye_m=0.12, pitch=1.0, roll=0.6)
QUERY = PoseSpread(along_m=4.4, across_m=2.0, heading=18.0, eye_m=0.35, pitch=3.0, roll=2.5)

#: kind of image: (spread, conditions) drawn for it.
VISITS = {
    "database": (GALLERY, mild),
    "queries": (QUERY, harsh),
    "tuning": (QUERY, harsh),
}


def street_heading(axis: int, sense: int) -> float:
    """Local heading along a street in the given sense."""
    return (0.0 if sense > 0 else 180.0) if axis == 0 else (90.0 if sense > 0 else 270.0)


def candidate_places(plan: Plan, seed: int, name: str) -> list[CityPlace]:
    """All places a plan has room for, street by street."""
    found: list[CityPlace] = []
    cells: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for street in (*plan.streets[0], *plan.streets[1]):
        dice = Dice(seed, name, "places", street.axis, int(street.at * 10))
        length = plan.height if street.axis == 0 else plan.width
        along = 24.0 + dice.between(0, 12)
        heading = street_heading(street.axis, street.forward)
        sine, cosine = sincos(heading)
        while along < length - 24.0:
            x, y = (street.at, along) if street.axis == 0 else (along, street.at)
            x, y = x + LANE_M * cosine, y - LANE_M * sine
            turn = dice.sign() * dice.between(12.0, 32.0)
            cell = int(x // SPACING_M), int(y // SPACING_M)
            around = [
                p
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
                for p in cells.get((cell[0] + i, cell[1] + j), [])
            ]
            if all((x - a) ** 2 + (y - b) ** 2 >= SPACING_M**2 for a, b in around):
                cells.setdefault(cell, []).append((x, y))
                found.append(CityPlace(len(found), x, y, heading + turn, heading))
                along += SPACING_M
            else:
                along += 1.5
    return found


def choose_places(seed: int, name: str, count: int) -> tuple[int, int, list[CityPlace]]:
    """Streets each way that give room for ``count`` places, and those places, numbered from 0."""
    across = up = 3
    while True:
        plan = lay_out(Dice(seed, name, "plan"), across, up)
        found = candidate_places(plan, seed, name)
        if len(found) >= count:
            break
        across, up = (across + 1, up) if across == up else (across, up + 1)
    dice = Dice(seed, name, "chosen")
    drawn = sorted(range(len(found)), key=lambda i: (dice.random(), i))[:count]
    chosen = [found[i] for i in sorted(drawn)]
    return across, up, [CityPlace(n, p.x, p.y, p.heading, p.along) for n, p in enumerate(chosen)]


def visit(seed: int, name: str, place: CityPlace, kind: str, index: int) -> tuple[Pose, Conditions]:
    """Pose and conditions of one image of a place.

    Args:
        seed, name: of the district.
        place: the place.
        kind: train, database, queries or tuning.
        index: of the image within its kind.
    """
    dice = Dice(seed, name, "visit", place.number, kind, index)
    if kind == "train":
        spread = GALLERY if dice.chance(0.4) else QUERY
        weather = any_year
    else:
        spread, weather = VISITS[kind]
    along = dice.between(-spread.along_m, spread.along_m)
    across = dice.between(-spread.across_m, spread.across_m)
    sine, cosine = sincos(place.along)
    pose = Pose(
        x=place.x + sine * along + cosine * across,
        y=place.y + cosine * along - sine * across,
        heading=place.heading + dice.between(-spread.heading, spread.heading),
        eye=2.0 + dice.between(-spread.eye_m, spread.eye_m),
        pitch=5.0 + dice.between(-spread.pitch, spread.pitch),
        roll=dice.between(-spread.roll, spread.roll),
    )
    return pose, weather(dice)
