"""Roof lines: ridges, gables, chimneys and parapets."""

import numpy as np

from edgevpr.city.exact_math import F32, Dice
from edgevpr.city.layout.house import House
from edgevpr.city.surfaces.atlas import ROOF, pack_planes
from edgevpr.city.surfaces.canvas import Canvas, texel
from edgevpr.city.surfaces.materials import wall


def skyline(house: House, columns: int, per_m: float) -> F32:
    """Height in metres of the front at each texel column, chimneys not counted."""
    u = (np.arange(columns, dtype=np.float32) + np.float32(0.5)) / np.float32(per_m)
    half = np.float32(house.width / 2)
    rise = np.maximum(1 - np.abs(u - half) / half, 0)
    eaves, height = np.float32(house.eaves_m), np.float32(house.roof_m)
    line: F32
    if house.roof == "gable":
        line = eaves + rise * height
    elif house.roof == "step":
        steps = np.float32(5)
        line = eaves + (np.floor(rise * steps) + 1) / (steps + 1) * height
    else:
        line = np.full(columns, house.ridge_m, np.float32)
    return line.astype(np.float32)


def roof(canvas: Canvas, house: House, line: F32, dice: Dice) -> None:
    """Paint the roof over the wall, under the skyline."""
    dark = texel(house.style.roof_colour, ROOF)
    tops = (line * np.float32(canvas.per_m)).astype(np.int64)
    v = np.arange(canvas.height)[None, :]
    if house.roof in ("gable", "step"):
        edge = (v < tops[:, None]) & (v >= tops[:, None] - 3)
        canvas.texels[edge] = dark if house.roof == "gable" else texel(house.style.trim)
        canvas.texels[(v == tops[:, None] - 1)] = texel(house.style.trim, ROOF)
        middle, low = house.width / 2, house.eaves_m + 0.4
        glass = texel((52, 60, 70), dice.whole(1, 199))
        if house.roof_m > 1.8:
            canvas.rect(middle - 0.5, low, middle + 0.5, low + 1.1, texel(house.frame))
            canvas.rect(middle - 0.38, low + 0.12, middle + 0.38, low + 0.98, glass)
        return
    if house.roof == "flat":
        top = canvas.at(house.eaves_m)
        canvas.texels[:, top - 2 : top] = texel(house.style.trim, ROOF, 1.05)
        return
    a, b = canvas.at(house.eaves_m), canvas.at(house.ridge_m)
    tile = wall("brick" if house.roof == "eaves" else "panel", canvas.width, b - a, (0, 0))
    r, g, bl = (tile * np.float32(c) for c in house.style.roof_colour)
    canvas.texels[:, a:b] = pack_planes(r, g, bl, ROOF)
    canvas.rect(0, house.eaves_m, house.width, house.eaves_m + 0.16, texel((112, 114, 112)))
    canvas.rect(0, house.ridge_m - 0.15, house.width, house.ridge_m, dark)
    if house.roof == "mansard" or dice.chance(0.3):
        count = max(int(house.width / dice.between(2.6, 4.2)), 1)
        for i in range(count):
            u = (i + 0.5) * house.width / count
            low, high = house.eaves_m + 0.35, house.ridge_m - 0.4
            glass = texel((52, 60, 70), dice.whole(1, 199))
            canvas.rect(u - 0.65, low - 0.1, u + 0.65, high + 0.15, texel(house.style.trim))
            canvas.rect(u - 0.45, low, u + 0.45, high, glass)
            canvas.rect(u - 0.04, low, u + 0.04, high, texel(house.frame))


def chimneys(canvas: Canvas, house: House, line: F32, dice: Dice) -> None:
    """Chimneys, tanks and stair heads: bumps of the skyline, which is changed in place."""
    if house.roof in ("gable", "step") or not dice.chance(0.7):
        return
    for _ in range(dice.whole(1, 3)):
        wide = dice.between(0.6, 1.1) if house.roof != "flat" else dice.between(1.2, 3.5)
        u = dice.between(0, max(house.width - wide, 0.1))
        top = house.ridge_m + dice.between(0.6, 1.4)
        brick = (128, 74, 60) if house.roof != "flat" else (138, 138, 136)
        canvas.rect(u, house.ridge_m - 0.3, u + wide, top, texel(brick, 0, dice.between(0.8, 1.1)))
        canvas.rect(u, top - 0.17, u + wide, top, texel((96, 92, 88), ROOF))
        a, b = canvas.at(u), canvas.at(u + wide)
        line[a:b] = np.maximum(line[a:b], np.float32(top))
