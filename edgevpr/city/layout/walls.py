"""Walls that occlude: fronts, side walls, fences and hedges."""

from dataclasses import dataclass, field

import numpy as np

from edgevpr.city.exact_math import F64, I64, Dice
from edgevpr.city.layout.house import House, build_house
from edgevpr.city.layout.plan import Block
from edgevpr.city.layout.style import Style

DEPTH_M = 11.0

FRONT, SIDE, CORNER, FENCE = 0, 1, 2, 3


@dataclass
class Walls:
    """Upright rectangles standing on the ground, seen from their outer face only.

    A wall starts at (ax, ay), runs ``length`` metres along the unit vector (ex, ey), left to right
    as seen from outside, and is ``height`` metres high where its texture has no skyline.
    """

    ax: list[float] = field(default_factory=list)
    ay: list[float] = field(default_factory=list)
    ex: list[float] = field(default_factory=list)
    ey: list[float] = field(default_factory=list)
    length: list[float] = field(default_factory=list)
    height: list[float] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    face: list[int] = field(default_factory=list)

    def add(self, x: float, y: float, ex: float, ey: float, length: float, height: float,
            owner: int, face: int) -> None:  # fmt: skip
        """Append one wall; ``owner`` is a house, or a kind of fence."""
        if length < 0.05:
            return
        for column, value in zip(
            (self.ax, self.ay, self.ex, self.ey, self.length, self.height),
            (x, y, ex, ey, length, height), strict=True,
        ):  # fmt: skip
            column.append(value)
        self.owner.append(owner)
        self.face.append(face)

    def columns(self) -> tuple[F64, F64, F64, F64, F64, F64, I64, I64]:
        """The walls as arrays: ax, ay, ex, ey, length, height, owner, face."""
        floats = [
            np.array(c, np.float64)
            for c in (self.ax, self.ay, self.ex, self.ey, self.length, self.height)
        ]
        ax, ay, ex, ey, length, height = floats
        return (ax, ay, ex, ey, length, height,
                np.array(self.owner, np.int64), np.array(self.face, np.int64))  # fmt: skip


@dataclass(frozen=True)
class Lot:
    """Position of a house: the left end of its front and the direction the front runs."""

    house: int
    x: float
    y: float
    ex: float
    ey: float
    setback: float


def fill_block(block: Block, seed: tuple[int | str, ...], styles: tuple[Style, ...], walls: Walls,
               houses: list[House], lots: list[Lot]) -> None:  # fmt: skip
    """Line the four sides of a block with houses, or fence it in when it is a park or a square."""
    dice = Dice(*seed, "block", *block.key)
    x0, y0, x1, y1 = block.x0, block.y0, block.x1, block.y1
    # Corners in the order of a walk around the block with the houses on the left.
    sides = (
        (x0, y0, 1.0, 0.0, x1 - x0, True),
        (x1, y0, 0.0, 1.0, y1 - y0, False),
        (x1, y1, -1.0, 0.0, x1 - x0, True),
        (x0, y1, 0.0, -1.0, y1 - y0, False),
    )
    if block.kind != "houses":
        if block.kind == "park":
            kind = dice.whole(0, 2)
            for x, y, ex, ey, length, _ in sides:
                gate = length / 2 - 2
                height = 0.9 + 0.3 * kind
                walls.add(x + ex * 0.3, y + ey * 0.3, ex, ey, gate, height, kind, FENCE)
                walls.add(x + ex * (gate + 4), y + ey * (gate + 4), ex, ey, gate, height, kind,
                          FENCE)  # fmt: skip
        return
    depth = min(DEPTH_M, (y1 - y0) / 2 - 1, (x1 - x0) / 2 - 1)
    main = dice.pick(styles)
    for number, (x, y, ex, ey, length, corners) in enumerate(sides):
        style = main if dice.chance(0.5) else dice.pick(styles)
        margin = 0.0 if corners else depth
        _row((*seed, *block.key, number), style, styles, x + ex * margin, y + ey * margin, ex, ey,
             length - 2 * margin, depth, corners, walls, houses, lots)  # fmt: skip


def _row(seed: tuple[int | str, ...], style: Style, styles: tuple[Style, ...], x: float, y: float,
         ex: float, ey: float, length: float, depth: float, corners: bool, walls: Walls,
         houses: list[House], lots: list[Lot]) -> None:  # fmt: skip
    """A row of houses along one side of a block."""
    dice = Dice(*seed, "row")
    setback = dice.between(0.5, style.setback) if style.setback and dice.chance(0.6) else 0.0
    at, count = 0.0, 0
    while length - at > 3.0:
        own = style if dice.chance(0.75) else dice.pick(styles)
        width = dice.between(*own.width_m)
        left = length - at - width
        if left < own.width_m[0]:
            width = length - at if left < 3.0 else width + left - own.width_m[0]
        width = min(width, length - at)
        first, last = at == 0.0, length - at - width < 0.1
        if not first and not last and dice.chance(0.09):
            gap = min(dice.between(2.0, 5.0), width)
            kind = dice.whole(0, 2)
            walls.add(x + ex * at, y + ey * at, ex, ey, gap, dice.between(1.2, 2.4), kind, FENCE)
            at += gap
            continue
        house = build_house((*seed, count), own, width, depth)
        number = len(houses)
        houses.append(house)
        back = 0.0 if corners and (first or last) else setback + (
            dice.between(0.2, 0.9) if dice.chance(0.15) else 0.0
        )  # fmt: skip
        inx, iny = -ey, ex  # into the block
        px, py = x + ex * at + inx * back, y + ey * at + iny * back
        lots.append(Lot(number, px, py, ex, ey, back))
        deep = depth - back
        eaves = house.eaves_m
        walls.add(px, py, ex, ey, width, eaves, number, FRONT)
        right = CORNER if corners and last else SIDE
        left_face = CORNER if corners and first else SIDE
        walls.add(px + ex * width, py + ey * width, inx, iny, deep, eaves, number, right)
        walls.add(px + inx * deep, py + iny * deep, -inx, -iny, deep, eaves, number, left_face)
        walls.add(px + ex * width + inx * deep, py + ey * width + iny * deep, -ex, -ey, width,
                  eaves, number, SIDE)  # fmt: skip
        if back > 1.2 and not (first or last):
            kind = dice.whole(0, 2)
            walls.add(x + ex * at, y + ey * at, ex, ey, width / 2 - 0.7, dice.between(0.6, 1.1),
                      kind, FENCE)  # fmt: skip
            gate = at + width / 2 + 0.7
            walls.add(x + ex * gate, y + ey * gate, ex, ey, width / 2 - 0.7, 0.9, kind, FENCE)
        at += width
        count += 1
