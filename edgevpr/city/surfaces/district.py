"""District: streets, houses, trees and lamps, all drawn from one seed."""

from dataclasses import dataclass, replace

import numpy as np

from edgevpr.city.exact_math import F32, F64, I64, U8, Dice, sincos
from edgevpr.city.layout.house import House
from edgevpr.city.layout.plan import Plan, lay_out
from edgevpr.city.layout.style import vocabulary
from edgevpr.city.layout.walls import CORNER, FENCE, FRONT, Lot, Walls, fill_block
from edgevpr.city.surfaces import facade, fences, furniture, ground, vehicles
from edgevpr.city.surfaces.atlas import Atlas
from edgevpr.city.surfaces.planting import Fixture, place_fixtures

#: Texels of house fronts kept painted, 128 MB; beyond it all are dropped and painted anew.
KEPT_TEXELS = 1 << 25

#: Texels a metre of the map of roof heights that throws shadows.
SHADOW_PER_M = 2


@dataclass(frozen=True)
class Anchor:
    """Map position of a district: its local origin and the rotation of its plan."""

    easting: float
    northing: float
    zone: int
    letter: str
    turn: float  # degrees clockwise from north to the plan's y axis

    def to_map(self, x: float, y: float) -> tuple[float, float]:
        """Easting and northing of a local point."""
        sine, cosine = sincos(self.turn)
        return (self.easting + x * cosine + y * sine, self.northing - x * sine + y * cosine)

    def bearing(self, heading: float) -> float:
        """Degrees clockwise from north of a local heading."""
        return (heading + self.turn) % 360.0


class District:
    """A piece of city and its textures, which are painted when they are first seen.

    Args:
        seed: of the whole data set.
        name: of the district; the same seed and name give the same district.
        across, up: numbers of streets each way.
    """

    def __init__(self, seed: int, name: str, across: int = 9, up: int = 9) -> None:
        self.seed, self.name = seed, name
        key: tuple[int | str, ...] = (seed, name)
        dice = Dice(*key, "district")
        self.anchor = Anchor(
            easting=float(dice.whole(420_000, 560_000)),
            northing=float(dice.whole(5_350_000, 5_650_000)),
            zone=32,
            letter="U",
            turn=float(dice.whole(-40, 40)),
        )
        self.plan: Plan = lay_out(Dice(*key, "plan"), across, up)
        self.styles = vocabulary(Dice(*key, "styles"))
        self.houses: list[House] = []
        self.lots: list[Lot] = []
        walls = Walls()
        for block in self.plan.blocks:
            fill_block(block, key, self.styles, walls, self.houses, self.lots)
        columns = walls.columns()
        self.ax, self.ay, self.ex, self.ey, self.length, self.height = columns[:6]
        self.owner, self.face = columns[6:]
        self.nx, self.ny = self.ey, -self.ex
        # Greatest height of a wall with roof and chimneys, before its texture is painted.
        ridge = np.array([h.ridge_m for h in self.houses] or [0.0])
        fence = self.face == FENCE
        self.reach: F64 = np.where(fence, self.height, ridge[self.owner * ~fence] + 1.5)
        self.bx, self.by = self.ax + self.ex * self.length, self.ay + self.ey * self.length
        self.texture: I64 = np.full(len(self.ax), -1, np.int64)
        self.ground: U8 = ground.paint_ground(self.plan, key)
        self.roofs: F32 = self._roofs()
        self.atlas = Atlas()
        self.props = furniture.make_props(self.atlas, Dice(*key, "props"))
        self.cars, self.trucks = vehicles.fleet(self.atlas)
        self._fences = [fences.texture(self.atlas, i) for i in range(3)]
        self.fixtures: Fixture = place_fixtures(
            self.plan, key, self.houses, self.lots, self.props, self.atlas
        )
        self._props_end = self.atlas.mark()
        self.horizon: F32 = _far_hills(Dice(*key, "hills"))

    def textures(self, walls: I64) -> I64:
        """Texture numbers of walls, painting those not seen before.

        Numbers are good until the next call.
        """
        if self.atlas.used > KEPT_TEXELS:
            self.atlas.rewind(self._props_end)
            self.texture[:] = -1
        for wall in walls[self.texture[walls] < 0]:
            self.texture[wall] = self._paint(int(wall))
        numbers: I64 = self.texture[walls]
        return numbers

    def _paint(self, wall: int) -> int:
        face, owner = int(self.face[wall]), int(self.owner[wall])
        if face == FENCE:
            return self._fences[owner]
        house, length = self.houses[owner], float(self.length[wall])
        if face == FRONT:
            texels, line = facade.front(house)
            return self.atlas.add(texels, facade.PER_M, line)
        if face == CORNER:
            flat = house.roof in ("flat", "gable", "step")
            corner = replace(
                house,
                seed=(*house.seed, "corner"),
                width=length,
                roof="flat" if flat else house.roof,
                roof_m=0.0 if flat else house.roof_m,
            )
            texels, line = facade.front(corner)
            return self.atlas.add(texels, facade.PER_M, line)
        texels, gable = facade.side(house, length)
        return self.atlas.add(texels, facade.PER_M / 2, gable)

    def _roofs(self) -> F32:
        shape = (
            int(self.plan.width * SHADOW_PER_M) + 1,
            int(self.plan.height * SHADOW_PER_M) + 1,
        )
        heights = np.zeros(shape, np.float32)
        for lot in self.lots:
            house = self.houses[lot.house]
            deep = house.depth - lot.setback
            x1 = lot.x + lot.ex * house.width - lot.ey * deep
            y1 = lot.y + lot.ey * house.width + lot.ex * deep
            a, b = sorted((int(lot.x * SHADOW_PER_M), int(x1 * SHADOW_PER_M)))
            c, d = sorted((int(lot.y * SHADOW_PER_M), int(y1 * SHADOW_PER_M)))
            heights[max(a, 0) : b, max(c, 0) : d] = house.ridge_m
        return heights

    def near(self, x: float, y: float, radius: float) -> I64:
        """Walls with an end within ``radius`` metres (in each coordinate) of a point."""
        inside = (
            (np.minimum(self.ax, self.bx) < x + radius)
            & (np.maximum(self.ax, self.bx) > x - radius)
            & (np.minimum(self.ay, self.by) < y + radius)
            & (np.maximum(self.ay, self.by) > y - radius)
        )
        return np.flatnonzero(inside)


def _far_hills(dice: Dice) -> F32:
    """(1024,) elevation (as a tangent) of the far skyline around the compass."""
    line = np.zeros(1024, np.float32)
    for cells, height in ((8, 0.05), (32, 0.03), (128, 0.012)):
        steps = np.array([dice.random() for _ in range(cells)], np.float32)
        span = 1024 // cells
        at = np.arange(1024)
        part = (at % span).astype(np.float32) / np.float32(span)
        low, high = steps[at // span], steps[(at // span + 1) % cells]
        line += np.float32(height) * (low + (high - low) * part)
    for _ in range(10):  # towers
        at0, wide = dice.whole(0, 1000), dice.whole(3, 12)
        line[at0 : at0 + wide] += np.float32(dice.between(0.03, 0.12))
    return line
