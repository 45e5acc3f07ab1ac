"""Ground floors: doors, shop windows, sign bands with lettering, awnings, garage doors."""

from edgevpr.city.exact_math import Dice
from edgevpr.city.layout.style import Colour
from edgevpr.city.surfaces.atlas import SHOP_GLASS, SIGN
from edgevpr.city.surfaces.canvas import Canvas, texel

SIGNS: tuple[Colour, ...] = (
    (176, 32, 40), (24, 70, 130), (20, 96, 66), (228, 186, 44), (40, 40, 44), (238, 236, 228),
    (208, 96, 30), (108, 44, 98), (30, 130, 140), (120, 78, 46),
)  # fmt: skip
DOORS: tuple[Colour, ...] = (
    (92, 40, 34), (34, 58, 92), (30, 76, 56), (66, 48, 38), (190, 156, 60), (50, 50, 54),
    (150, 46, 46), (120, 134, 140),
)  # fmt: skip


def door(canvas: Canvas, u: float, dice: Dice, trim: Colour, wide: float = 1.15) -> None:
    """A house door with frame, panels, fanlight and a step."""
    colour = dice.pick(DOORS)
    high = dice.between(2.15, 2.5)
    canvas.rect(u - 0.15, 0, u + wide + 0.15, high + 0.7, texel(trim))
    canvas.rect(u, 0, u + wide, high, texel(colour))
    canvas.rect(u, high + 0.1, u + wide, high + 0.55, texel((58, 64, 74), dice.whole(1, 199)))
    for i in range(2):
        left = u + 0.15 + i * wide / 2
        canvas.rect(left, 0.3, left + wide / 2 - 0.3, 1.0, texel(colour, light=0.72))
        canvas.rect(left, 1.2, left + wide / 2 - 0.3, 2.0, texel(colour, light=0.72))
    canvas.rect(u - 0.3, 0, u + wide + 0.3, 0.17, texel((150, 148, 142)))


def garage(canvas: Canvas, u0: float, u1: float, high: float, dice: Dice) -> None:
    """A garage or warehouse door of horizontal slats."""
    colour = dice.pick(DOORS)
    canvas.rect(u0, 0, u1, high, texel(colour, light=1.15))
    a, b = canvas.at(u0), canvas.at(u1)
    canvas.texels[a:b, 0 : canvas.at(high) : 4] = texel(colour, light=0.8)


def lettering(canvas: Canvas, u0: float, u1: float, v0: float, v1: float, ink: int,
              dice: Dice) -> None:  # fmt: skip
    """Lettering of a sign: strokes of random letters."""
    high, u = v1 - v0, u0
    while u + high * 0.5 < u1:
        if dice.chance(0.14):
            u += high * 0.5
            continue
        wide = high * dice.between(0.45, 0.7)
        stroke = 1.0 / canvas.per_m
        canvas.rect(u, v0, u + stroke, v1, ink)
        for bar in range(3):
            if dice.chance(0.55):
                v = v0 + bar * (high - stroke) / 2
                canvas.rect(u, v, u + wide, v + stroke, ink)
        if dice.chance(0.5):
            canvas.rect(u + wide - stroke, v0, u + wide, v0 + high * dice.pick((0.5, 1.0)), ink)
        u += wide + 1.5 * stroke


def shop(canvas: Canvas, u0: float, u1: float, high: float, dice: Dice) -> None:
    """A shop front from u0 to u1: glazing, entrance, goods, sign band, perhaps an awning."""
    colour = dice.pick(SIGNS)
    ink = (240, 236, 224) if sum(colour) < 400 else (40, 38, 40)
    if dice.chance(0.3):
        ink = dice.pick(SIGNS) if sum(colour) > 500 else (240, 214, 90)
    band = dice.between(0.6, 0.85)
    riser = dice.between(0.3, 0.8)
    canvas.rect(u0, 0, u1, high, texel(colour, light=0.8))
    goods = [dice.pick(SIGNS) for _ in range(3)]
    panes = max(int((u1 - u0) / dice.between(1.5, 2.4)), 2)
    entrance = dice.whole(0, panes - 1)
    step = (u1 - u0) / panes
    for i in range(panes):
        a, b = u0 + i * step + 0.1, u0 + (i + 1) * step - 0.1
        low = 0.1 if i == entrance else riser
        canvas.rect(a, low, b, high - band - 0.1, texel((70, 82, 92), SHOP_GLASS))
        canvas.rect(a, high - band - 0.35, b, high - band - 0.1, texel((48, 56, 64), SHOP_GLASS))
        if i == entrance:
            middle = (a + b) / 2
            canvas.rect(middle, low, middle + 0.06, high - band - 0.6, texel(colour))
            canvas.rect(a, 2.1, b, 2.2, texel(colour))
            continue
        for _ in range(dice.whole(1, 3)):  # goods on display
            left = dice.between(a + 0.1, max(b - 0.5, a + 0.15))
            tall = dice.between(0.3, 1.0)
            canvas.rect(left, low, left + 0.35, low + tall, texel(dice.pick(goods), SHOP_GLASS))
    canvas.rect(u0, high - band, u1, high, texel(colour, SIGN))
    inset = dice.between(0.3, (u1 - u0) * 0.3)
    lettering(canvas, u0 + inset, u1 - inset, high - band + 0.15, high - 0.15,
              texel(ink, SIGN), dice)  # fmt: skip
    canvas.rect(u0, high, u1, high + 0.1, texel(colour, light=1.1))
    if dice.chance(0.4):
        stripe = texel(dice.pick(SIGNS)), texel((236, 232, 220))
        low, top = high - band - dice.between(0.5, 0.8), high - band
        wide = 0.34
        for i in range(int((u1 - u0) / wide)):
            left = u0 + i * wide
            canvas.rect(left, low, min(left + wide, u1), top, stripe[i % 2])
        canvas.shade(u0, low - 0.35, u1, low, 5)
