"""Fixtures of the streets: trees, lamps, signs, benches, awnings, balconies."""

from dataclasses import dataclass

import numpy as np

from edgevpr.city.exact_math import F64, I64, Dice
from edgevpr.city.layout.house import House
from edgevpr.city.layout.plan import Plan, Street
from edgevpr.city.layout.walls import Lot
from edgevpr.city.surfaces.atlas import CLEAR, Atlas, pack
from edgevpr.city.surfaces.canvas import Canvas, texel
from edgevpr.city.surfaces.furniture import Cutout, Props
from edgevpr.city.surfaces.shopfront import SIGNS


@dataclass(frozen=True)
class Fixture:
    """Fixed cut-outs as columns.

    Standing ones face the viewer: centre (x, y), width, and one texture in leaf, one bare.
    Panels stand in a fixed plane: start, unit direction, length, height of the lower edge, texture.
    """

    x: F64
    y: F64
    width: F64
    leafy: I64
    bare: I64
    lamp_x: F64
    lamp_y: F64
    panels: F64  # (P, 6): ax, ay, ex, ey, length, z0
    panel_texture: I64


def place_fixtures(
    plan: Plan,
    seed: tuple[int | str, ...],
    houses: list[House],
    lots: list[Lot],
    props: Props,
    atlas: Atlas,
) -> Fixture:
    """Place all fixtures of a district."""
    rows: list[tuple[float, float, Cutout, Cutout]] = []
    lamps: list[tuple[float, float]] = []
    for street in (*plan.streets[0], *plan.streets[1]):
        _line(plan, street, Dice(*seed, "line", street.axis, int(street.at * 10)), props, rows,
              lamps)  # fmt: skip
    for block in plan.blocks:
        if block.kind == "houses":
            continue
        dice = Dice(*seed, "park", *block.key)
        count = 22 if block.kind == "park" else 7
        for _ in range(count):
            x = dice.between(block.x0 + 2.5, block.x1 - 2.5)
            y = dice.between(block.y0 + 2.5, block.y1 - 2.5)
            rows.append((x, y, *dice.pick(props.trees)))
        thing = dice.pick(props.things)
        for _ in range(6):
            x, y = dice.between(block.x0, block.x1), dice.between(block.y0, block.y1)
            rows.append((x, y, thing, thing))
    panels, numbers = _panels(seed, houses, lots, props, atlas)
    return Fixture(
        x=np.array([r[0] for r in rows]),
        y=np.array([r[1] for r in rows]),
        width=np.array([r[2].width for r in rows]),
        leafy=np.array([r[2].texture for r in rows], np.int64),
        bare=np.array([r[3].texture for r in rows], np.int64),
        lamp_x=np.array([p[0] for p in lamps]),
        lamp_y=np.array([p[1] for p in lamps]),
        panels=np.array(panels, np.float64).reshape(-1, 6),
        panel_texture=np.array(numbers, np.int64),
    )


def _line(plan: Plan, street: Street, dice: Dice, props: Props,
          rows: list[tuple[float, float, Cutout, Cutout]],
          lamps: list[tuple[float, float]]) -> None:  # fmt: skip
    """Trees, lamps and small things along both kerbs of a street, clear of the junctions."""
    others = plan.streets[1 - street.axis]
    length = plan.height if street.axis == 0 else plan.width
    kind = dice.pick(props.trees)

    def put(along: float, off: float, what: tuple[Cutout, Cutout]) -> tuple[float, float] | None:
        if any(abs(along - s.at) < s.half + 1.0 for s in others):
            return None
        point = (street.at + off, along) if street.axis == 0 else (along, street.at + off)
        rows.append((*point, *what))
        return point

    kerb = street.road_half + 0.55
    for side in (-1, 1):
        if street.trees:
            at = dice.between(0, street.trees)
            while at < length:
                pair = kind if dice.chance(0.8) else dice.pick(props.trees)
                if not dice.chance(0.15):
                    put(at, side * (kerb + 0.2), pair)
                at += street.trees * dice.between(0.85, 1.15)
        at = dice.between(2, 14)
        while at < length:
            where = put(at, side * kerb, (props.lamp, props.lamp))
            if where:
                lamps.append(where)
            at += dice.between(24, 30)
        at = dice.between(2, 10)
        while at < length:
            thing = dice.pick(props.things) if dice.chance(0.6) else dice.pick(props.signs)
            off = kerb + 0.1 if dice.chance(0.6) else street.half - 0.6
            put(at, side * off, (thing, thing))
            at += dice.between(6, 17)


def _panels(seed: tuple[int | str, ...], houses: list[House], lots: list[Lot], props: Props,
            atlas: Atlas) -> tuple[list[tuple[float, ...]], list[int]]:  # fmt: skip
    """Awnings, balconies and hanging signs: planes in front of the houses."""
    awnings = [_awning(atlas, Dice(*seed, "awning", i)) for i in range(8)]
    balconies = [_balcony(atlas, Dice(*seed, "balcony", i)) for i in range(4)]
    rows: list[tuple[float, ...]] = []
    numbers: list[int] = []
    for lot in lots:
        house = houses[lot.house]
        dice = Dice(*house.seed, "panels")
        outx, outy = lot.ey, -lot.ex

        def put(along: float, out: float, length: float, z0: float, number: int,
                lot: Lot = lot, outx: float = outx, outy: float = outy) -> None:  # fmt: skip
            x, y = lot.x + lot.ex * along + outx * out, lot.y + lot.ey * along + outy * out
            rows.append((x, y, lot.ex, lot.ey, length, z0))
            numbers.append(number)

        if house.shop and dice.chance(0.45):
            long = min(house.width * dice.between(0.35, 0.8), 7.5)
            start = dice.between(0.2, house.width - long - 0.1)
            put(start, dice.between(0.8, 1.4), long, house.ground_m - 1.1, dice.pick(awnings))
        if house.shop and dice.chance(0.6):
            sign = dice.pick(props.shop_signs)
            along = dice.pick((0.3, house.width - 0.3))
            x, y = lot.x + lot.ex * along, lot.y + lot.ey * along
            rows.append((x, y, outx, outy, sign.width, house.ground_m - 0.4))
            numbers.append(sign.texture)
        if dice.chance(house.style.balconies * 0.6) and house.floors > 2:
            number = dice.pick(balconies)
            long = min(dice.between(1.8, 3.2), house.width * 0.45)
            for middle in (0.28, 0.72) if dice.chance(0.6) else (0.5,):
                start = house.width * middle - long / 2
                for floor in range(1, house.floors):
                    if dice.chance(0.8):
                        z0 = house.ground_m + (floor - 1) * house.floor_m + 0.3
                        put(start, 1.0, long, z0, number)
    return rows, numbers


def _awning(atlas: Atlas, dice: Dice) -> int:
    canvas = Canvas(7.6, 0.75, 16.0, CLEAR << 24)
    one, two = texel(dice.pick(SIGNS)), texel((236, 232, 222))
    stripe = dice.pick((0.3, 0.45, 8.0))
    for i in range(int(7.6 / stripe) + 1):
        canvas.rect(i * stripe, 0.12, (i + 1) * stripe, 0.75, (one, two)[i % 2])
        canvas.rect(i * stripe, 0.0, (i + 0.7) * stripe, 0.14, (one, two)[i % 2])
    return atlas.add(canvas.texels, 16.0)


def _balcony(atlas: Atlas, dice: Dice) -> int:
    canvas = Canvas(3.3, 1.2, 16.0, CLEAR << 24)
    canvas.rect(0, 0, 3.3, 0.18, texel((168, 164, 156)))
    ink = dice.pick((pack(40, 42, 46), pack(200, 200, 198), pack(96, 60, 48)))
    if dice.chance(0.5):
        canvas.texels[::3, :] = ink
        canvas.rect(0, 1.1, 3.3, 1.2, ink)
    else:
        canvas.rect(0, 0.18, 3.3, 1.1, texel(dice.pick(((196, 190, 180), (150, 170, 176)))))
        canvas.rect(0, 1.1, 3.3, 1.2, ink)
    canvas.rect(0, 0, 3.3, 0.18, texel((168, 164, 156)))
    return atlas.add(canvas.texels, 16.0)
