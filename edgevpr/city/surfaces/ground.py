"""Ground: a map of kinds at eight texels a metre, and the look of each kind in a season."""

import numpy as np

from edgevpr.city.exact_math import U8, U32, Dice, fractal_tile, hash_grid
from edgevpr.city.layout.plan import Plan, Street
from edgevpr.city.layout.style import Colour
from edgevpr.city.surfaces.atlas import GROUND, pack_planes

PER_M = 8

#: kind: (colour, how much of it snow covers, how much its grain varies)
KINDS: tuple[tuple[Colour, float, float], ...] = (
    ((92, 122, 58), 1.0, 0.5),  # 0 grass
    ((88, 88, 92), 0.35, 0.22),  # 1 asphalt
    ((112, 108, 104), 0.35, 0.22),  # 2 lighter asphalt
    ((116, 104, 94), 0.5, 0.5),  # 3 cobbles
    ((172, 168, 160), 0.5, 0.08),  # 4 kerb
    ((158, 154, 148), 0.8, 0.16),  # 5 pavement slabs
    ((176, 148, 124), 0.8, 0.2),  # 6 red-brown paving
    ((128, 126, 126), 0.8, 0.25),  # 7 asphalt pavement
    ((226, 226, 220), 0.45, 0.12),  # 8 white marking
    ((212, 176, 60), 0.45, 0.12),  # 9 yellow marking
    ((66, 66, 70), 0.35, 0.2),  # 10 fresh patch
    ((58, 56, 54), 0.3, 0.1),  # 11 iron cover
    ((186, 174, 150), 0.9, 0.3),  # 12 gravel
    ((120, 116, 112), 0.7, 0.1),  # 13 joint
    ((150, 84, 70), 0.4, 0.2),  # 14 red lane
)
SHADES = 8


def palette(leaf: Colour, snow: float, wet: float) -> U32:
    """(len(KINDS) * SHADES,) texels for a visit: kinds in eight shades of grain.

    Args:
        leaf: multiplies grass, in 1/255.
        snow: 0 none to 1 deep.
        wet: 0 dry to 1 soaked (darker).
    """
    shade = np.arange(SHADES, dtype=np.float32)[None, :, None]
    colour = np.array([k[0] for k in KINDS], np.float32)[:, None, :]
    covered = np.array([k[1] for k in KINDS], np.float32)[:, None, None]
    grains = np.array([k[2] for k in KINDS], np.float32)[:, None, None]
    base = colour * (1 + grains * (shade - np.float32(3.5)) / 7)
    base[0] *= np.array(leaf, np.float32) / 160
    base *= np.float32(1 - 0.28 * wet)
    cover = np.clip(
        np.float32(snow) * covered * (np.float32(1.25) - np.float32(0.07) * shade), 0, 1
    )
    cold = np.array([232, 235, 240], np.float32) + 2 * shade
    mixed = base + (cold - base) * cover
    table = pack_planes(mixed[..., 0], mixed[..., 1], mixed[..., 2], GROUND)
    return table.ravel()


def grain() -> U8:
    """(256, 256) shades 0..7: large blotches and single stones."""
    blotch = fractal_tile(256, 31, (64, 16, 4))
    u, v = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    stone = (hash_grid(u, v, 33) >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)
    mixed = (
        (blotch - np.float32(0.5)) * np.float32(1.3) + stone * np.float32(0.5) + np.float32(0.25)
    )
    shades: U8 = np.clip(mixed * SHADES, 0, SHADES - 1).astype(np.uint8)
    return shades


def paint_ground(plan: Plan, seed: tuple[int | str, ...]) -> U8:
    """(width * 8, height * 8) kinds times SHADES, x first."""
    shape = (int(plan.width * PER_M) + 1, int(plan.height * PER_M) + 1)
    kinds = np.zeros(shape, np.uint8)
    for block in plan.blocks:
        if block.kind == "square":
            _rect(kinds, block.x0, block.y0, block.x1, block.y1, 12)
            a, b = int(block.x0 * PER_M), int(block.x1 * PER_M)
            kinds[a:b:16, int(block.y0 * PER_M) : int(block.y1 * PER_M)] = 13
    streets = (*plan.streets[0], *plan.streets[1])
    for street in streets:
        paving = (5, 6, 7)[street.paving]
        _along(kinds, plan, street, -street.half, street.half, paving)
        if paving != 7:
            _joints(kinds, plan, street)
    for street in streets:
        _along(kinds, plan, street, -street.road_half - 0.25, street.road_half + 0.25, 4)
    for street in streets:
        road = (1, 2, 3)[street.surface]
        _along(kinds, plan, street, -street.road_half, street.road_half, road)
    for street in streets:
        _markings(kinds, plan, street, Dice(*seed, "ground", street.axis, int(street.at * 10)))
    kinds *= np.uint8(SHADES)
    return kinds


def _rect(kinds: U8, x0: float, y0: float, x1: float, y1: float, kind: int) -> None:
    a, b = max(int(x0 * PER_M), 0), max(int(y0 * PER_M), 0)
    kinds[a : max(int(x1 * PER_M), a + 1), b : max(int(y1 * PER_M), b + 1)] = kind


def _along(kinds: U8, plan: Plan, street: Street, left: float, right: float, kind: int,
           start: float = 0.0, end: float | None = None) -> None:  # fmt: skip
    """A strip of a street, from ``left`` to ``right`` of its axis."""
    a, b = street.at + left, street.at + right
    if street.axis == 0:
        _rect(kinds, a, start, b, plan.height if end is None else end, kind)
    else:
        _rect(kinds, start, a, plan.width if end is None else end, b, kind)


def _joints(kinds: U8, plan: Plan, street: Street) -> None:
    step = 6 if street.paving == 0 else 3
    a, b = int((street.at - street.half) * PER_M), int((street.at + street.half) * PER_M)
    strip = kinds[a:b] if street.axis == 0 else kinds[:, a:b].T
    strip[:, ::step] = 13
    if street.paving == 0:
        strip[::6] = 13


def _markings(kinds: U8, plan: Plan, street: Street, dice: Dice) -> None:
    """Between each pair of junctions: centre line, crossings, bays, patches, covers."""
    others = plan.streets[1 - street.axis]
    ends = [(s.at - s.half, s.at + s.half) for s in others]
    starts = [0.0, *(e[1] for e in ends)]
    stops = [*(e[0] for e in ends), plan.height if street.axis == 0 else plan.width]
    half = street.road_half
    line, edge = dice.chance(0.6), dice.chance(0.3)
    for start, stop in zip(starts, stops, strict=True):
        if stop - start < 12:
            continue
        if edge and street.surface != 2:
            for side in (-half + 0.3, half - 0.45):
                _along(kinds, plan, street, side, side + 0.15, 9, start, stop)
        if line and street.surface != 2:
            s = start + 5
            while s < stop - 6:
                _along(kinds, plan, street, -0.08, 0.08, 8, s, s + 2.2)
                s += 5.0
        if dice.chance(0.25):
            _along(kinds, plan, street, -half + 0.5, -half + 1.9, 14, start + 4, stop - 4)
        for near in (start + 1.0, stop - 3.6):
            if dice.chance(0.35):  # zebra
                u = -half + 0.4
                while u < half - 0.4:
                    _along(kinds, plan, street, u, u + 0.5, 8, near, near + 2.6)
                    u += 1.0
            elif dice.chance(0.4):
                _along(kinds, plan, street, -half + 0.2, -0.1, 8, near + 1.2, near + 1.6)
        if street.parking and dice.chance(0.6):
            s = start + 7
            while s < stop - 12:
                for side in (-half, half - 2.0):
                    _along(kinds, plan, street, side, side + 2.0, 8, s, s + 0.13)
                s += 5.5
        for _ in range(int((stop - start) / 9)):
            s, u = dice.between(start, stop - 3), dice.between(-half, half - 1)
            wide, long = dice.between(0.5, 1.6), dice.between(0.8, 5.0)
            kind = dice.pick((10, 10, 2, 1))
            _along(kinds, plan, street, u, min(u + wide, half), kind, s, s + long)
        for _ in range(int((stop - start) / 12)):
            s, u = dice.between(start, stop - 1), dice.between(-half, half - 0.7)
            _along(kinds, plan, street, u, u + 0.65, 11, s, s + 0.65)
