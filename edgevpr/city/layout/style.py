"""Building styles: a district has a few of them, so that its houses look alike."""

from dataclasses import dataclass, replace

from edgevpr.city.exact_math import Dice

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """Ranges that the houses of one style are drawn from. Lengths in metres."""

    material: str
    walls: tuple[Colour, ...]
    trim: Colour
    frames: tuple[Colour, ...]
    roofs: tuple[str, ...]
    roof_colour: Colour
    floors: tuple[int, int]
    floor_m: tuple[float, float]
    width_m: tuple[float, float]
    window_w: tuple[float, float]
    window_h: tuple[float, float]
    bay_m: tuple[float, float]
    arch: float = 0.0  # chance of arched windows
    shutters: float = 0.0
    balconies: float = 0.0
    shops: float = 0.3
    quoins: float = 0.0
    bands: float = 0.3  # chance of string courses
    timber: bool = False
    ribbon: bool = False  # windows joined into bands
    setback: float = 0.0


BRICK = ((142, 72, 56), (158, 88, 64), (122, 62, 52), (172, 112, 80), (108, 70, 62))
PALE = ((222, 208, 176), (214, 196, 160), (232, 222, 200), (204, 190, 170), (226, 200, 170))
BRIGHT = ((212, 150, 96), (196, 120, 100), (160, 182, 168), (222, 190, 112), (176, 168, 196),
          (140, 168, 190), (206, 140, 140))  # fmt: skip
GREY = ((166, 164, 160), (140, 142, 146), (186, 184, 176), (120, 124, 130))
STONE = ((190, 176, 146), (172, 160, 138), (204, 190, 158), (156, 150, 138))
WHITE = ((238, 238, 232), (226, 226, 224), (244, 238, 222))
DARK = ((86, 84, 88), (70, 78, 84), (98, 80, 72), (64, 70, 66))

ARCHETYPES: tuple[Style, ...] = (
    Style("brick", BRICK, (226, 220, 206), (WHITE[0], (60, 60, 64)), ("eaves", "flat", "eaves"),
          (92, 84, 84), (2, 3), (2.9, 3.2), (5.0, 7.5), (0.95, 1.25), (1.4, 1.8), (1.9, 2.5),
          arch=0.35, shops=0.2, bands=0.4),
    Style("stone", STONE, (216, 206, 182), (WHITE[0], (88, 76, 64)), ("mansard", "mansard", "flat"),
          (84, 92, 104), (4, 5), (3.1, 3.5), (10.0, 16.0), (1.0, 1.3), (1.9, 2.3), (2.3, 2.9),
          shutters=0.2, balconies=0.6, shops=0.6, quoins=0.3, bands=0.7),
    Style("plaster", BRIGHT, (240, 234, 220), (WHITE[0], (104, 72, 52)), ("eaves", "flat", "gable"),
          (156, 84, 60), (3, 4), (2.9, 3.4), (6.5, 10.0), (0.9, 1.2), (1.4, 1.9), (2.2, 3.0),
          arch=0.2, shutters=0.65, balconies=0.35, shops=0.45, bands=0.3),
    Style("brick", BRICK, (236, 228, 208), (WHITE[0], (40, 66, 56)), ("gable", "step", "step"),
          (124, 70, 54), (3, 4), (2.9, 3.3), (5.0, 8.0), (0.9, 1.3), (1.5, 2.1), (1.7, 2.2),
          arch=0.5, shops=0.5, bands=0.6, quoins=0.2),
    Style("panel", GREY, (110, 112, 116), ((70, 72, 78), (200, 200, 200)), ("flat",),
          (96, 96, 100), (4, 6), (2.8, 3.1), (13.0, 22.0), (1.7, 2.4), (1.3, 1.6), (2.6, 3.6),
          balconies=0.45, shops=0.25, bands=0.2, setback=2.0),
    Style("plaster", WHITE, (64, 48, 40), (WHITE[1], (84, 52, 36)), ("gable", "eaves", "gable"),
          (128, 64, 46), (2, 4), (2.7, 3.0), (6.0, 9.0), (0.9, 1.2), (1.1, 1.4), (1.9, 2.5),
          shops=0.3, bands=0.0, timber=True),
    Style("plaster", PALE, (150, 142, 130), ((72, 78, 88), WHITE[0]), ("flat", "flat", "mansard"),
          (104, 100, 100), (3, 5), (3.0, 3.4), (9.0, 15.0), (1.6, 2.4), (1.3, 1.7), (2.6, 3.4),
          balconies=0.3, shops=0.4, bands=0.5, ribbon=True),
    Style("rubble", STONE, (198, 190, 170), (WHITE[0], (52, 70, 96)), ("eaves", "gable"),
          (80, 82, 88), (2, 3), (2.6, 2.9), (5.5, 9.0), (0.8, 1.1), (1.1, 1.4), (2.2, 3.2),
          shutters=0.3, shops=0.25, quoins=0.6, bands=0.0),
    Style("boards", ((196, 208, 204), (150, 64, 52), (222, 214, 184), (104, 128, 136),
                     (176, 168, 140)), (244, 244, 238), (WHITE[0],), ("gable", "eaves"),
          (86, 80, 78), (2, 3), (2.7, 3.0), (6.5, 10.0), (0.9, 1.2), (1.3, 1.7), (2.2, 3.0),
          shops=0.15, bands=0.2, setback=3.0),
    Style("brick", DARK + BRICK[2:3], (150, 150, 150), ((44, 46, 50), (30, 60, 56)), ("flat",),
          (80, 80, 84), (3, 5), (3.4, 4.0), (11.0, 20.0), (1.9, 2.8), (2.1, 2.7), (2.8, 3.8),
          arch=0.35, shops=0.3, bands=0.5),
)  # fmt: skip


def vocabulary(dice: Dice, count: int = 5) -> tuple[Style, ...]:
    """The styles of one district: archetypes, each with its range narrowed to a local habit."""
    chosen: list[Style] = []
    pool = list(ARCHETYPES)
    for _ in range(count):
        style = pool.pop(int(dice.random() * len(pool)))
        tint = [dice.whole(-10, 10) for _ in range(3)]
        walls = tuple(_shift(c, tint) for c in style.walls)
        first = dice.whole(0, len(walls) - 1)
        # Three wall colours a style: enough that neighbours differ, few enough to recur.
        local = tuple(walls[(first + i) % len(walls)] for i in range(min(3, len(walls))))
        floor = dice.between(*style.floor_m)
        bay = dice.between(*style.bay_m)
        chosen.append(
            replace(
                style,
                walls=local,
                roof_colour=_shift(style.roof_colour, tint),
                floor_m=(floor - 0.1, floor + 0.1),
                bay_m=(bay - 0.2, bay + 0.2),
            )
        )
    return tuple(chosen)


def _shift(colour: Colour, by: list[int]) -> Colour:
    r, g, b = (min(max(c + d, 0), 255) for c, d in zip(colour, by, strict=True))
    return (r, g, b)
