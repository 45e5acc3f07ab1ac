"""Route of a drive: a smooth way through the streets, in the sense of their traffic."""

from dataclasses import dataclass, replace

from edgevpr.city.exact_math import Dice, sincos
from edgevpr.city.layout.conditions import Conditions
from edgevpr.city.layout.plan import Plan, Street
from edgevpr.city.layout.pose import Pose
from edgevpr.city.layout.views import LANE_M, street_heading

RATE_HZ = 10.0
SPEED_M_S = 7.0
CORNER_M = 8.0

#: Dusk in late autumn under broken cloud, with busy streets.
CONDITIONS = Conditions(
    hour="dusk", season="autumn", sun_azimuth=230.0, sun_slope=0.16, cloud=0.45, wet=0.3,
    haze_m=260.0, exposure=1.3, warmth=0.15, noise=4.0, defocus=0.3, motion=1.2, traffic=0.6,
    people=0.6, parked=0.55, seed=20_231_104,
)  # fmt: skip


@dataclass(frozen=True)
class Leg:
    """A straight piece, or a quarter turn (``turn`` of +1 right, -1 left) at its end point."""

    x: float
    y: float
    heading: float
    length: float
    turn: int = 0


def frames(plan: Plan, seed: int, name: str, count: int) -> list[tuple[Pose, Conditions]]:
    """Pose and conditions of each frame."""
    step = SPEED_M_S / RATE_HZ
    legs = _route(plan, Dice(seed, name, "drive"), step * count + 5.0)
    sway = Dice(seed, name, "sway")
    phase = sway.between(0, 360)
    result = []
    for number in range(count):
        x, y, heading = _point_at(legs, number * step)
        yaw, _ = sincos(phase + number * 4.0)
        nod, _ = sincos(phase * 2 + number * 11.0)
        roll, _ = sincos(phase * 3 + number * 7.0)
        pose = Pose(x, y, heading + 3.0 * yaw, eye=2.0, pitch=5.0 + 0.5 * nod, roll=0.6 * roll)
        result.append((pose, replace(CONDITIONS, time_s=number / RATE_HZ)))
    return result


def _route(plan: Plan, dice: Dice, length: float) -> list[Leg]:
    """Legs of at least ``length`` metres, found by trying; a small plan repeats its last street."""
    best: list[Leg] = []
    longest = 0.0
    for _ in range(400):
        legs = _random_route(plan, dice, length)
        total = sum(leg.length for leg in legs)
        if total > longest:
            best, longest = legs, total
        if longest >= length:
            break
    return best


def _random_route(plan: Plan, dice: Dice, length: float) -> list[Leg]:
    axis = dice.whole(0, 1)
    street = dice.pick(plan.streets[axis])
    others = plan.streets[1 - axis]
    index = dice.whole(0, len(others) - 1)
    at = others[index].at
    legs: list[Leg] = []
    total = 0.0
    x, y = _lane_point(street, at)
    while total < length:
        heading = street_heading(street.axis, street.forward)
        ahead = index + street.forward
        inside = 0 <= ahead < len(plan.streets[1 - street.axis])
        if not inside:  # the last stretch runs out towards the edge of the district
            run = 28.0
            legs.append(Leg(x, y, heading, run))
            break
        crossing = plan.streets[1 - street.axis][ahead]
        here = y if street.axis == 0 else x
        reach = abs(crossing.at - here)
        if not dice.chance(0.55):
            legs.append(Leg(x, y, heading, reach))
            x, y = _lane_point(street, crossing.at)
            total += reach
            index = ahead
            continue
        onward = street_heading(crossing.axis, crossing.forward)
        turn = 1 if (onward - heading) % 360.0 == 90.0 else -1
        corner_x, corner_y = _corner(street, crossing)
        end = corner_y if street.axis == 0 else corner_x
        run = abs(end - here) - CORNER_M
        legs.append(Leg(x, y, heading, run))
        sine, cosine = sincos(heading)
        bend = CORNER_M * 1.5707963267948966
        legs.append(Leg(x + sine * run, y + cosine * run, heading, bend, turn))
        total += run + bend
        sine, cosine = sincos(onward)
        x, y = corner_x + sine * CORNER_M, corner_y + cosine * CORNER_M
        index = plan.streets[street.axis].index(street)
        street = crossing
    return legs


def _lane_point(street: Street, along: float) -> tuple[float, float]:
    """A point in the lane of a street."""
    sine, cosine = sincos(street_heading(street.axis, street.forward))
    x, y = (street.at, along) if street.axis == 0 else (along, street.at)
    return x + LANE_M * cosine * (street.axis == 0), y - LANE_M * sine * (street.axis == 1)


def _corner(one: Street, two: Street) -> tuple[float, float]:
    """Crossing point of the lanes of two streets."""
    x = _lane_point(one if one.axis == 0 else two, 0.0)[0]
    y = _lane_point(one if one.axis == 1 else two, 0.0)[1]
    return x, y


def _point_at(legs: list[Leg], distance: float) -> tuple[float, float, float]:
    """Position and heading after ``distance`` metres; the end of the last leg if it is farther."""
    for number, leg in enumerate(legs):
        if distance <= leg.length or number == len(legs) - 1:
            run = min(distance, leg.length)
            sine, cosine = sincos(leg.heading)
            if not leg.turn:
                return leg.x + sine * run, leg.y + cosine * run, leg.heading
            angle = 90.0 * run / leg.length
            s, c = sincos(angle)
            side = CORNER_M * (1 - c) * leg.turn
            x = leg.x + sine * CORNER_M * s + cosine * side
            y = leg.y + cosine * CORNER_M * s - sine * side
            return x, y, leg.heading + angle * leg.turn
        distance -= leg.length
    raise ValueError("a route without legs")
