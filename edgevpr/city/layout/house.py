"""House of a row: sizes, colours and roof, drawn from a style."""

from dataclasses import dataclass

from edgevpr.city.exact_math import Dice
from edgevpr.city.layout.style import Colour, Style


@dataclass(frozen=True)
class House:
    """A house of a row. Lengths in metres, ``seed`` names its own random stream."""

    seed: tuple[int | str, ...]
    style: Style
    width: float
    depth: float
    wall: Colour
    frame: Colour
    floors: int
    floor_m: float
    ground_m: float
    roof: str
    roof_m: float
    shop: bool

    @property
    def eaves_m(self) -> float:
        """Height of the wall under the roof."""
        return self.ground_m + (self.floors - 1) * self.floor_m + 0.5

    @property
    def ridge_m(self) -> float:
        """Height of the roof's top, chimneys not counted."""
        return self.eaves_m + self.roof_m


def build_house(seed: tuple[int | str, ...], style: Style, width: float, depth: float) -> House:
    """Draw a house of ``style`` for a lot of ``width`` x ``depth`` metres."""
    dice = Dice(*seed, "house")
    base = dice.pick(style.walls)
    light = dice.between(0.92, 1.08)
    wall = tuple(min(max(int(c * light) + dice.whole(-6, 6), 0), 255) for c in base)
    roof = dice.pick(style.roofs)
    if roof in ("gable", "step") and width > 11:
        roof = "eaves"
    roof_m = {
        "flat": 0.0,
        "mansard": dice.between(2.4, 3.0),
        "eaves": dice.between(1.6, 2.6),
        "gable": width * dice.between(0.36, 0.52),
        "step": width * dice.between(0.36, 0.5),
    }[roof]
    shop = dice.chance(style.shops)
    floor_m = dice.between(*style.floor_m)
    return House(
        seed=seed,
        style=style,
        width=width,
        depth=depth,
        wall=(wall[0], wall[1], wall[2]),
        frame=dice.pick(style.frames),
        floors=dice.whole(*style.floors),
        floor_m=floor_m,
        ground_m=floor_m + (dice.between(0.4, 1.0) if shop else dice.between(0.0, 0.4)),
        roof=roof,
        roof_m=roof_m,
        shop=shop,
    )
