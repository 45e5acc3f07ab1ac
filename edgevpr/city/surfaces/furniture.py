"""Street furniture and people, as flat cut-outs that face the viewer."""

import math
from dataclasses import dataclass

from edgevpr.city.exact_math import Dice
from edgevpr.city.layout.style import Colour
from edgevpr.city.surfaces import trees
from edgevpr.city.surfaces.atlas import CLEAR, EVERGREEN, LAMP, SIGN, Atlas, pack
from edgevpr.city.surfaces.canvas import Canvas, texel
from edgevpr.city.surfaces.shopfront import DOORS, SIGNS, lettering

PER_M = 24.0
STEEL: Colour = (92, 96, 98)


@dataclass(frozen=True)
class Cutout:
    """A texture and its size in metres."""

    texture: int
    width: float
    height: float


def _store(atlas: Atlas, canvas: Canvas) -> Cutout:
    return Cutout(
        atlas.add(canvas.texels, canvas.per_m),
        canvas.width / canvas.per_m,
        canvas.height / canvas.per_m,
    )


def _disc(canvas: Canvas, u: float, v: float, radius: float, ink: int) -> None:
    for i in range(canvas.at(2 * radius)):
        d = (i + 0.5) / canvas.per_m - radius
        half = math.sqrt(max(radius * radius - d * d, 0.0))
        canvas.rect(u - half, v + d, u + half, v + d + 0.5 / canvas.per_m, ink)


def lamp_post(atlas: Atlas, dice: Dice) -> Cutout:
    """A street lamp, of one make throughout a district."""
    high = dice.between(4.6, 6.0)
    canvas = Canvas(1.6, high + 0.3, PER_M, CLEAR << 24)
    ink = texel(dice.pick((STEEL, (50, 54, 52), (40, 62, 54))))
    canvas.rect(0.74, 0, 0.86, high, ink)
    canvas.rect(0.68, 0, 0.92, 0.9, ink)
    glow = pack(250, 236, 190, LAMP)
    if dice.chance(0.5):
        _disc(canvas, 0.8, high, 0.24, glow)
    else:
        canvas.rect(0.1, high - 0.05, 0.8, high + 0.05, ink)
        canvas.rect(0.0, high - 0.2, 0.45, high, glow)
    return _store(atlas, canvas)


def traffic_sign(atlas: Atlas, dice: Dice) -> Cutout:
    """A post with a round, square or triangular sign."""
    canvas = Canvas(0.8, 2.9, PER_M, CLEAR << 24)
    canvas.rect(0.36, 0, 0.44, 2.8, texel(STEEL))
    colour = dice.pick(((190, 30, 34), (30, 70, 150), (230, 190, 50)))
    kind = dice.whole(0, 2)
    if kind == 0:
        _disc(canvas, 0.4, 2.45, 0.36, texel(colour))
        _disc(canvas, 0.4, 2.45, 0.24, pack(238, 238, 234))
    elif kind == 1:
        canvas.rect(0.08, 2.1, 0.72, 2.8, texel(colour))
        canvas.rect(0.2, 2.3, 0.6, 2.6, pack(238, 238, 234))
    else:
        for i in range(14):
            half = 0.38 * (1 - i / 14)
            v = 2.1 + i * 0.05
            canvas.rect(0.4 - half, v, 0.4 + half, v + 0.05, texel(colour))
    return _store(atlas, canvas)


def street_object(atlas: Atlas, dice: Dice) -> Cutout:
    """A bin, bollard, cabinet, letter box, planter, advertising column, shelter or kiosk."""
    kind = dice.whole(0, 7)
    colour = dice.pick(DOORS if kind not in (3, 5) else SIGNS)
    size = (
        (0.5, 1.0), (0.25, 1.0), (1.0, 1.3), (0.5, 1.5), (1.4, 1.3), (1.4, 3.4), (3.4, 2.6),
        (2.4, 2.9),
    )[kind]  # fmt: skip
    canvas = Canvas(*size, PER_M, CLEAR << 24)
    w, h = size
    if kind in (0, 1, 2, 3):
        canvas.rect(0, 0, w, h, texel(colour))
        canvas.rect(0, 0, w * 0.3, h, texel(colour, light=0.75))
        canvas.rect(0, h - 0.14, w, h, texel(colour, light=1.3))
        canvas.rect(w * 0.2, h * 0.6, w * 0.8, h * 0.7, pack(30, 30, 32))
    elif kind == 4:
        canvas.rect(0, 0, w, 0.55, texel((150, 140, 126)))
        for i in range(10):
            _disc(canvas, dice.between(0.2, 1.2), dice.between(0.6, 1.0), 0.2,
                  pack(44 + 5 * i, 96 + 4 * i, 40, EVERGREEN))  # fmt: skip
    elif kind == 5:
        canvas.rect(0.1, 0, 1.3, 3.1, texel((70, 84, 78)))
        canvas.rect(0, 3.0, 1.4, 3.2, texel((52, 64, 60)))
        canvas.rect(0.3, 3.2, 1.1, 3.4, texel((52, 64, 60)))
        canvas.rect(0.2, 0.7, 1.2, 2.7, texel(colour, SIGN))
        lettering(canvas, 0.3, 1.1, 2.1, 2.4, pack(240, 236, 226, SIGN), dice)
        _disc(canvas, 0.7, 1.3, 0.4, texel(dice.pick(SIGNS), SIGN))
    else:
        canvas.rect(0, h - 0.3, w, h, texel(colour))
        canvas.rect(0, 0, 0.1, h, texel(STEEL))
        canvas.rect(w - 0.1, 0, w, h, texel(STEEL))
        canvas.rect(w * 0.65, 0.3, w, 2.2, texel(dice.pick(SIGNS), SIGN))
        canvas.rect(0.2, 0.4, w * 0.6, 0.55, pack(120, 90, 60))
        if kind == 7:
            canvas.rect(0, 0, w, 1.1, texel(colour, light=0.8))
            canvas.rect(0, 2.3, w, 2.6, texel(dice.pick(SIGNS), SIGN))
    return _store(atlas, canvas)


def person(atlas: Atlas, dice: Dice) -> Cutout:
    """A pedestrian in mid-step."""
    canvas = Canvas(0.7, dice.between(1.6, 1.85), PER_M, CLEAR << 24)
    h = canvas.height / PER_M
    coat = texel(dice.pick(SIGNS + DOORS), light=0.85)
    legs = texel(dice.pick(((44, 48, 60), (66, 58, 52), (30, 30, 34), (96, 100, 110))))
    skin = texel(dice.pick(((214, 172, 140), (150, 106, 80), (96, 68, 52), (232, 196, 170))))
    stride = dice.between(0.02, 0.16)
    canvas.rect(0.25 - stride, 0, 0.36 - stride, 0.5, legs)
    canvas.rect(0.36 + stride, 0, 0.47 + stride, 0.5, legs)
    canvas.rect(0.24, 0.4, 0.47, 0.9, legs)
    canvas.rect(0.2, 0.8, 0.5, h - 0.27, coat)
    canvas.rect(0.13, 0.85, 0.22, h - 0.32, coat)
    canvas.rect(0.48, 0.85, 0.57, h - 0.32, coat)
    _disc(canvas, 0.35, h - 0.13, 0.12, skin)
    hair = dice.pick(((40, 32, 28), (110, 80, 50), (150, 146, 140)))
    canvas.rect(0.25, h - 0.09, 0.45, h, texel(hair))
    return _store(atlas, canvas)


@dataclass(frozen=True)
class Props:
    """The cut-outs of a district. Each tree is a (in leaf, bare) pair."""

    lamp: Cutout
    signs: tuple[Cutout, ...]
    things: tuple[Cutout, ...]
    people: tuple[Cutout, ...]
    trees: tuple[tuple[Cutout, Cutout], ...]
    shop_signs: tuple[Cutout, ...]


def make_props(atlas: Atlas, dice: Dice) -> Props:
    """Make all cut-outs of a district."""
    pairs = []
    for i in range(6):
        width, height = dice.between(3.6, 6.0), dice.between(5.5, 8.5)
        seed = dice.whole(0, 1 << 30)
        kinds = ("conifer", "conifer") if i == 5 else ("leafy", "bare")
        if i == 5:
            width = height * 0.45
        both = [
            Cutout(atlas.add(trees.tree(Dice(seed), width, height, k), trees.PER_M), width, height)
            for k in kinds
        ]
        pairs.append((both[0], both[1]))
    return Props(
        lamp=lamp_post(atlas, dice),
        signs=tuple(traffic_sign(atlas, dice) for _ in range(4)),
        things=tuple(street_object(atlas, dice) for _ in range(14)),
        people=tuple(person(atlas, Dice("person", i)) for i in range(14)),
        trees=tuple(pairs),
        shop_signs=tuple(_shop_sign(atlas, dice) for _ in range(10)),
    )


def _shop_sign(atlas: Atlas, dice: Dice) -> Cutout:
    canvas = Canvas(0.8, dice.between(0.6, 1.4), PER_M, CLEAR << 24)
    h = canvas.height / PER_M
    colour = dice.pick(SIGNS)
    canvas.rect(0, 0, 0.8, h, texel(colour, SIGN))
    canvas.rect(0.06, 0.06, 0.74, h - 0.06, texel(colour, SIGN, 0.85))
    _disc(canvas, 0.4, h / 2, 0.22, texel(dice.pick(SIGNS), SIGN))
    return _store(atlas, canvas)
