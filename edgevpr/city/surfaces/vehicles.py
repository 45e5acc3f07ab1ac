"""Cars, vans and buses: flat faces that together stand as a box with a cabin."""

import math
from dataclasses import dataclass

from edgevpr.city.exact_math import Dice
from edgevpr.city.layout.style import Colour
from edgevpr.city.surfaces.atlas import CLEAR, HEADLIGHT, TAILLIGHT, Atlas, pack
from edgevpr.city.surfaces.canvas import Canvas, texel

PER_M = 20.0

PAINTS: tuple[Colour, ...] = (
    (226, 226, 224), (190, 192, 196), (112, 116, 122), (44, 46, 50), (150, 30, 34), (34, 58, 110),
    (36, 84, 66), (196, 160, 60), (110, 140, 170), (150, 120, 96),
)  # fmt: skip
BUSES: tuple[Colour, ...] = ((186, 34, 38), (230, 200, 60), (230, 232, 232), (40, 96, 150))


@dataclass(frozen=True)
class Vehicle:
    """Sizes in metres and texture numbers of one vehicle.

    ``across`` lists the planes across it: (distance from the rear, texture).
    """

    length: float
    width: float
    height: float
    side: int
    across: tuple[tuple[float, int], ...]


def car(atlas: Atlas, dice: Dice) -> Vehicle:
    """A passenger car, its nose towards the right of its side view."""
    length, width, height = dice.between(3.8, 4.7), 1.75, dice.between(1.42, 1.6)
    paint = dice.pick(PAINTS)
    body, low = texel(paint), texel(paint, light=0.66)
    glass, black = pack(44, 52, 60), pack(24, 24, 26)
    belt = 0.92
    tail, nose = dice.between(0.1, 0.7), dice.between(1.0, 1.35)
    canvas = Canvas(length, height, PER_M, CLEAR << 24)
    canvas.rect(0, 0.28, length, belt, body)
    canvas.rect(0, 0.28, length, 0.45, low)
    steps = canvas.at(height - belt)
    for i in range(steps):  # the cabin leans in as it rises
        v, part = belt + i / PER_M, i / max(steps - 1, 1)
        a, b = tail + 0.3 * part, length - nose - 0.6 * part
        canvas.rect(a, v, b, v + 1 / PER_M, body if part > 0.85 else glass)
        for post in (a, (a + b) / 2, b - 0.08):
            canvas.rect(post, v, post + 0.08, v + 1 / PER_M, body)
    canvas.rect(length - 0.12, 0.6, length, 0.78, pack(240, 236, 210, HEADLIGHT))
    canvas.rect(0, 0.62, 0.1, 0.82, pack(170, 20, 20, TAILLIGHT))
    for middle in (0.75, length - 0.8):
        _wheel(canvas, middle, 0.31)
    side = atlas.add(canvas.texels, PER_M)
    front = Canvas(width, belt, PER_M, CLEAR << 24)
    front.rect(0, 0.25, width, belt, body)
    front.rect(0.45, 0.35, width - 0.45, 0.7, black)
    front.rect(0.05, 0.58, 0.4, 0.76, pack(240, 236, 210, HEADLIGHT))
    front.rect(width - 0.4, 0.58, width - 0.05, 0.76, pack(240, 236, 210, HEADLIGHT))
    front.rect(0.1, 0, 0.3, 0.3, black)
    front.rect(width - 0.3, 0, width - 0.1, 0.3, black)
    rear = Canvas(width, belt, PER_M, CLEAR << 24)
    rear.rect(0, 0.25, width, belt, body)
    rear.rect(0.6, 0.45, width - 0.6, 0.58, pack(230, 230, 220))
    rear.rect(0.05, 0.62, 0.3, 0.85, pack(170, 20, 20, TAILLIGHT))
    rear.rect(width - 0.3, 0.62, width - 0.05, 0.85, pack(170, 20, 20, TAILLIGHT))
    rear.rect(0.1, 0, 0.3, 0.3, black)
    rear.rect(width - 0.3, 0, width - 0.1, 0.3, black)
    screen = Canvas(width, height, PER_M, CLEAR << 24)
    screen.rect(0.04, 0.3, width - 0.04, height, body)
    screen.rect(0.14, belt, width - 0.14, height - 0.1, glass)
    across = (
        (0.0, atlas.add(rear.texels, PER_M)),
        (tail + 0.15, atlas.add(screen.texels, PER_M)),
        (length - nose - 0.45, atlas.add(screen.texels, PER_M)),
        (length, atlas.add(front.texels, PER_M)),
    )
    return Vehicle(length, width, height, side, across)


def van(atlas: Atlas, dice: Dice, bus: bool) -> Vehicle:
    """A delivery van, or a bus."""
    length = 10.5 if bus else dice.between(5.2, 6.2)
    width, height = (2.45, 2.95) if bus else (2.0, 2.4)
    paint = dice.pick(BUSES if bus else PAINTS)
    body, low = texel(paint), texel(paint, light=0.7)
    glass, black = pack(48, 56, 64), pack(24, 24, 26)
    canvas = Canvas(length, height, PER_M, CLEAR << 24)
    canvas.rect(0, 0.3, length, height, body)
    canvas.rect(0, 0.3, length, 0.6, low)
    if bus:
        panes = 7
        for i in range(panes):
            u = 0.3 + i * (length - 0.6) / panes
            code = 200 if i else 0
            canvas.rect(u, 1.2, u + (length - 0.6) / panes - 0.12, 2.5, pack(52, 60, 70, code))
        canvas.rect(length - 1.6, 0.4, length - 0.5, 2.4, glass)
    else:
        canvas.rect(length - 1.7, 1.25, length - 0.5, 2.0, glass)
        stripe = texel(dice.pick(PAINTS))
        canvas.rect(0.4, 1.1, length * 0.6, 1.1 + dice.between(0.2, 0.8), stripe)
    for middle in (1.0, length - 1.2):
        _wheel(canvas, middle, 0.4)
    side = atlas.add(canvas.texels, PER_M)
    ends = []
    for lights in (TAILLIGHT, HEADLIGHT):
        end = Canvas(width, height, PER_M, CLEAR << 24)
        end.rect(0, 0.3, width, height, body)
        if lights == HEADLIGHT or bus:
            end.rect(0.15, 1.2, width - 0.15, height - 0.45, glass)
        ink = pack(170, 20, 20, lights) if lights == TAILLIGHT else pack(240, 236, 210, lights)
        end.rect(0.1, 0.6, 0.4, 0.85, ink)
        end.rect(width - 0.4, 0.6, width - 0.1, 0.85, ink)
        end.rect(0.1, 0, 0.4, 0.3, black)
        end.rect(width - 0.4, 0, width - 0.1, 0.3, black)
        ends.append(atlas.add(end.texels, PER_M))
    return Vehicle(length, width, height, side, ((0.0, ends[0]), (length, ends[1])))


def fleet(atlas: Atlas) -> tuple[tuple[Vehicle, ...], tuple[Vehicle, ...]]:
    """The vehicles of every city: cars, and the large ones."""
    cars = tuple(car(atlas, Dice("car", i)) for i in range(12))
    large = tuple(van(atlas, Dice("van", i), bus=i >= 4) for i in range(7))
    return cars, large


def _wheel(canvas: Canvas, middle: float, radius: float) -> None:
    steps = canvas.at(radius * 2)
    for i in range(steps):
        v = (i + 0.5) / PER_M - radius
        half = math.sqrt(max(radius * radius - v * v, 0.0))
        texels = canvas.texels
        a, b = canvas.at(middle - half), canvas.at(middle + half)
        texels[max(a, 0) : b, i] = pack(26, 26, 28)
        if half > radius * 0.8:
            texels[canvas.at(middle - 0.12) : canvas.at(middle + 0.12), i] = pack(140, 142, 146)
