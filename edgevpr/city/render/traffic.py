"""Vehicles and people of one visit, and the fixed cut-outs around the camera, as planes."""

import numpy as np

from edgevpr.city.exact_math import F64, Dice, toss
from edgevpr.city.layout.conditions import Conditions
from edgevpr.city.layout.plan import Street
from edgevpr.city.layout.pose import View
from edgevpr.city.render.raycast import Planes
from edgevpr.city.surfaces.district import District
from edgevpr.city.surfaces.vehicles import Vehicle

REACH_M = 70.0
SPEED = 7.0  # of vehicles, metres a second

#: A plane: ax, ay, ex, ey, length, z0, texture, sun.
Row = tuple[float, float, float, float, float, float, int, float]


def cutouts_in_view(
    district: District, view: View, conditions: Conditions, sun: tuple[float, float]
) -> Planes:
    """Every cut-out the camera may see."""
    pose, fixed = view.pose, district.fixtures
    rows: list[Row] = []
    for street in (*district.plan.streets[0], *district.plan.streets[1]):
        off = (pose.x if street.axis == 0 else pose.y) - street.at
        if abs(off) < 60:
            _parked(district, view, conditions, street, rows, sun)
            _moving(district, view, conditions, street, rows, sun)
        if abs(off) < 25:
            _people(district, view, conditions, street, rows)
    moving = np.array([r[:6] for r in rows], np.float64).reshape(-1, 6)
    near = _in_view(view, fixed.x, fixed.y, fixed.width)
    half = fixed.width[near] / 2
    bare = conditions.season == "winter"
    count = int(near.sum())
    flat = np.full(count, 0.62)
    p = fixed.panels
    panel = _in_view(view, p[:, 0], p[:, 1], p[:, 4] * 2) if len(p) else np.zeros(0, bool)
    p = p[panel]
    facing = np.maximum(p[:, 3] * sun[0] - p[:, 2] * sun[1], 0)
    return Planes(
        ax=np.concatenate([fixed.x[near] - view.rx * half, p[:, 0], moving[:, 0]]),
        ay=np.concatenate([fixed.y[near] - view.ry * half, p[:, 1], moving[:, 1]]),
        ex=np.concatenate([np.full(count, view.rx), p[:, 2], moving[:, 2]]),
        ey=np.concatenate([np.full(count, view.ry), p[:, 3], moving[:, 3]]),
        length=np.concatenate([fixed.width[near], p[:, 4], moving[:, 4]]),
        z0=np.concatenate([np.zeros(count), p[:, 5], moving[:, 5]]),
        texture=np.concatenate([
            (fixed.bare if bare else fixed.leafy)[near], fixed.panel_texture[panel],
            np.array([r[6] for r in rows], np.int64),
        ]),
        sun=np.concatenate([flat, facing, np.array([r[7] for r in rows], np.float64)]),
    )  # fmt: skip


def _in_view(view: View, x: F64, y: F64, width: F64) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """True for points that, give or take ``width``, are in the horizontal view and in reach."""
    dx, dy = x - view.pose.x, y - view.pose.y
    forward, right = dx * view.fx + dy * view.fy, dx * view.rx + dy * view.ry
    limit = np.maximum(forward, 0) * float(view.k[-1]) + width * 1.5
    inside = (forward > 1.0) & (forward < REACH_M * 1.6) & (np.abs(right) < limit)
    return np.asarray(inside, np.bool_).ravel()


def _clear_of_junctions(district: District, street: Street, along: float, gap: float) -> bool:
    others = district.plan.streets[1 - street.axis]
    return all(abs(along - s.at) > s.half + gap for s in others)


def _parked(district: District, view: View, conditions: Conditions, street: Street,
            rows: list[Row], sun: tuple[float, float]) -> None:  # fmt: skip
    if not street.parking:
        return
    pose = view.pose
    here = pose.y if street.axis == 0 else pose.x
    first = int((here - REACH_M) // 6)
    for slot in range(first, first + int(2 * REACH_M / 6)):
        for side in (-1, 1):
            along, off = slot * 6.0, side * (street.road_half - 1.0)
            x, y = (street.at + off, along) if street.axis == 0 else (along, street.at + off)
            where = conditions.seed, 1, street.axis, int(street.at), slot, side
            if toss(*where) > conditions.parked:
                continue
            if not _visible(view, x, y, 4.0) or not _clear_of_junctions(district, street, along, 5):
                continue
            dice = Dice(*where)
            vehicle = dice.pick(district.trucks[:4] if dice.chance(0.12) else district.cars)
            _add_vehicle(rows, view, vehicle, street.axis, x, y, -side * street.forward, sun)


def _moving(district: District, view: View, conditions: Conditions, street: Street,
            rows: list[Row], sun: tuple[float, float]) -> None:  # fmt: skip
    """Vehicles under way: at most one for each lane and 30 m of street, moving with time."""
    pose = view.pose
    here = pose.y if street.axis == 0 else pose.x
    for lane in (-1, 1):
        # Traffic keeps to the right of its own direction.
        sense = lane if street.axis == 0 else -lane
        sense *= 1 if street.forward > 0 or street.road_half > 4 else -1
        moved = sense * SPEED * conditions.time_s
        first = int((here - moved - REACH_M) // 30.0)
        for cell in range(first, first + int(2 * REACH_M / 30) + 2):
            where = conditions.seed, 2, street.axis, int(street.at), lane, cell
            if toss(*where) > conditions.traffic * 0.75:
                continue
            dice = Dice(*where)
            large = dice.chance(0.22)
            vehicle = dice.pick(district.trucks if large else district.cars)
            along = cell * 30.0 + dice.between(0, 30) + moved
            off = lane * (1.5 if street.road_half < 4 else 1.8) + dice.between(-0.3, 0.3)
            x, y = (street.at + off, along) if street.axis == 0 else (along, street.at + off)
            dx, dy = x - pose.x, y - pose.y
            # A large vehicle right ahead would hide the place altogether.
            if dx * dx + dy * dy < (13.0 if large else 6.5) ** 2:
                continue
            if _visible(view, x, y, vehicle.length):
                _add_vehicle(rows, view, vehicle, street.axis, x, y, sense, sun)


def _visible(view: View, x: float, y: float, size: float) -> bool:
    dx, dy = x - view.pose.x, y - view.pose.y
    forward, right = dx * view.fx + dy * view.fy, dx * view.rx + dy * view.ry
    edge = max(forward, 0.0) * float(view.k[-1]) + 1.6 * size
    return forward > -size and abs(right) < edge and forward < REACH_M


def _add_vehicle(
    rows: list[Row],
    view: View,
    vehicle: Vehicle,
    axis: int,
    x: float,
    y: float,
    sense: int,
    sun: tuple[float, float],
) -> None:
    """The planes of a vehicle centred at (x, y), its nose towards ``sense`` along the axis."""
    ex, ey = (0.0, float(sense)) if axis == 0 else (float(sense), 0.0)
    sx, sy = ey, -ex  # to its right
    half, wide = vehicle.length / 2, vehicle.width / 2
    dx, dy = x - view.pose.x, y - view.pose.y
    if dx * dx + dy * dy < (half + 1.3) ** 2:
        return
    rx, ry = x - ex * half, y - ey * half
    light = 0.25 + 0.7 * max(abs(sx * sun[0] + sy * sun[1]), 0.0)
    for side in (-wide, wide):
        rows.append((rx + sx * side, ry + sy * side, ex, ey, vehicle.length, 0.0, vehicle.side,
                     light))  # fmt: skip
    light = 0.25 + 0.7 * max(abs(ex * sun[0] + ey * sun[1]), 0.0)
    for at, texture in vehicle.across:
        rows.append((rx + ex * at - sx * wide, ry + ey * at - sy * wide, sx, sy, vehicle.width,
                     0.0, texture, light))  # fmt: skip


def _people(district: District, view: View, conditions: Conditions, street: Street,
            rows: list[Row]) -> None:  # fmt: skip
    """Pedestrians: at most one for each pavement and 5 m of it, walking with time."""
    pose = view.pose
    here = pose.y if street.axis == 0 else pose.x
    first = int((here - 45.0) // 5.0)
    for side in (-1, 1):
        for cell in range(first, first + 19):
            where = conditions.seed, 3, street.axis, int(street.at), side, cell
            if toss(*where) > conditions.people * 0.4:
                continue
            dice = Dice(*where)
            who, off = dice.pick(district.props.people), dice.random()
            along = cell * 5.0 + dice.between(0, 5) + dice.sign() * 1.3 * conditions.time_s
            across = street.at + side * (street.road_half + 0.3 + off * (street.pavement - 0.8))
            x, y = (across, along) if street.axis == 0 else (along, across)
            if (x - pose.x) * view.fx + (y - pose.y) * view.fy < 3.0:
                continue
            half = who.width / 2
            if _visible(view, x, y, 0.5):
                rows.append((x - view.rx * half, y - view.ry * half, view.rx, view.ry, who.width,
                             0.0, who.texture, 0.6))  # fmt: skip
