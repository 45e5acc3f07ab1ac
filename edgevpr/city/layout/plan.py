"""Street plan: straight streets at uneven distances, crossing at right angles.

Coordinates are local metres; a district turns its plan by an angle of its own when it is placed on
the map. Axis 0 streets run along y at a fixed x, axis 1 streets along x at a fixed y.
"""

from dataclasses import dataclass

from edgevpr.city.exact_math import Dice

#: Ground beyond the outermost streets, so that they too have houses on both sides.
RIM_M = 40.0


@dataclass(frozen=True)
class Street:
    """One street. ``forward`` is the sense of its traffic, +1 along the growing coordinate."""

    axis: int
    at: float
    road_half: float
    pavement: float
    forward: int
    trees: float  # distance between trees, 0 for none
    paving: int  # kinds of ground, see ground.py
    surface: int
    parking: bool

    @property
    def half(self) -> float:
        """From the axis to the building line."""
        return self.road_half + self.pavement


@dataclass(frozen=True)
class Block:
    """The land between streets, by its building lines."""

    x0: float
    y0: float
    x1: float
    y1: float
    kind: str  # houses, park or square
    key: tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """Streets and blocks of a district within [0, width] x [0, height] metres."""

    width: float
    height: float
    streets: tuple[tuple[Street, ...], tuple[Street, ...]]
    blocks: tuple[Block, ...]


def lay_out(dice: Dice, across: int, up: int) -> Plan:
    """A plan with ``across`` streets of axis 0 and ``up`` of axis 1."""
    families, extent = [], []
    for axis, count in ((0, across), (1, up)):
        at, family = RIM_M, []
        for _ in range(count):
            wide = dice.chance(0.3)
            family.append(
                Street(
                    axis=axis,
                    at=at,
                    road_half=dice.between(4.4, 5.6) if wide else dice.between(2.9, 3.8),
                    pavement=dice.between(2.6, 3.8) if wide else dice.between(1.7, 2.6),
                    forward=dice.sign(),
                    trees=dice.between(8.0, 14.0) if dice.chance(0.6 if wide else 0.3) else 0.0,
                    paving=dice.whole(0, 2),
                    surface=dice.pick((0, 0, 1, 2)),
                    parking=dice.chance(0.65),
                )
            )
            at += dice.between(56.0, 86.0)
        families.append(tuple(family))
        extent.append(family[-1].at + RIM_M)
    blocks = []
    for i in range(across + 1):
        x0 = families[0][i - 1].at + families[0][i - 1].half if i else 0.0
        x1 = families[0][i].at - families[0][i].half if i < across else extent[0]
        for j in range(up + 1):
            y0 = families[1][j - 1].at + families[1][j - 1].half if j else 0.0
            y1 = families[1][j].at - families[1][j].half if j < up else extent[1]
            chance = dice.random()
            kind = "park" if chance < 0.05 else "square" if chance < 0.09 else "houses"
            if i in (0, across) or j in (0, up):
                kind = "houses"
            blocks.append(Block(x0, y0, x1, y1, kind, (i, j)))
    return Plan(extent[0], extent[1], (families[0], families[1]), tuple(blocks))
