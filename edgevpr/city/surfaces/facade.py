"""Street fronts: walls, rows of windows, roofs, and rare details."""

import numpy as np

from edgevpr.city.exact_math import F32, U32, Dice, fractal_tile, hash_grid, noise_tile
from edgevpr.city.layout.house import House
from edgevpr.city.layout.style import Colour
from edgevpr.city.surfaces import shopfront, windows
from edgevpr.city.surfaces.atlas import CLEAR, LEAF, pack_planes
from edgevpr.city.surfaces.canvas import Canvas, texel
from edgevpr.city.surfaces.materials import wall
from edgevpr.city.surfaces.roofs import chimneys, roof, skyline

PER_M = 12.0


def front(house: House) -> tuple[U32, F32]:
    """The texture of a house's street front, (columns, rows), and its skyline in metres."""
    dice = Dice(*house.seed, "front")
    canvas = Canvas(house.width, house.ridge_m + 1.6, PER_M, CLEAR << 24)
    _wall(canvas, house, house.eaves_m if house.roof in ("flat", "mansard", "eaves") else
          house.ridge_m, dice)  # fmt: skip
    if house.style.timber:
        _timber(canvas, house, dice)
    _ornaments(canvas, house, dice)
    _openings(canvas, house, dice)
    _add_details(canvas, house, dice)
    line = skyline(house, canvas.width, PER_M)
    roof(canvas, house, line, dice)
    chimneys(canvas, house, line, dice)
    rows = int(float(line.max()) * PER_M) + 1
    return canvas.texels[:, :rows], line


def side(house: House, depth: float) -> tuple[U32, F32 | None]:
    """A bare or sparsely windowed side or back wall, ``depth`` metres long."""
    dice = Dice(*house.seed, "side")
    gabled = house.roof in ("eaves", "mansard")
    canvas = Canvas(depth, house.ridge_m if gabled else house.eaves_m, PER_M / 2)
    _wall(canvas, house, house.ridge_m, dice)
    if dice.chance(0.5):
        pane = windows.make_window(
            dice, 0.9, 1.2, PER_M / 2, house.frame, house.style.trim, False, (1, 2), False
        )
        for floor in range(house.floors):
            for u in (depth * 0.3, depth * 0.65):
                if dice.chance(0.5):
                    pane.paste(canvas, u, house.ground_m + (floor - 0.65) * house.floor_m, dice)
    if dice.chance(0.12):
        _mural(canvas, 0.1 * depth, 0.12 * house.eaves_m, 0.9 * depth, 0.9 * house.eaves_m, dice)
    if not gabled:
        return canvas.texels, None
    u = (np.arange(canvas.width, dtype=np.float32) + np.float32(0.5)) / np.float32(PER_M / 2)
    rise = np.minimum(u, np.float32(depth) - u) / np.float32(depth / 2)
    if house.roof == "mansard":
        rise = np.minimum(rise * 3, np.float32(1))
    line = np.float32(house.eaves_m) + rise * np.float32(house.roof_m)
    return canvas.texels, line.astype(np.float32)


def _wall(canvas: Canvas, house: House, top: float, dice: Dice) -> None:
    w, h = canvas.width, min(canvas.at(top), canvas.height)
    tile = wall(house.style.material, w, h, (dice.whole(0, 255), dice.whole(0, 31)))
    stains = fractal_tile(256, 5)
    shift = dice.whole(0, 255)
    stain = stains[(np.arange(w) + shift)[:, None] % 256, (np.arange(h) // 2)[None, :] % 256]
    light = tile * (np.float32(0.82) + np.float32(0.34) * stain)
    # Splash water darkens the foot of a wall, soot its top.
    foot = np.minimum((np.arange(h, dtype=np.float32) + 4) / np.float32(16), 1)
    light = light * (np.float32(0.75) + np.float32(0.25) * foot)[None, :]
    r, g, b = (light * np.float32(c) for c in house.wall)
    canvas.texels[:, :h] = pack_planes(r, g, b)


def _timber(canvas: Canvas, house: House, dice: Dice) -> None:
    beam = texel(house.style.trim)
    step = dice.between(1.0, 1.6)
    for floor in range(house.floors):
        low = house.ground_m + (floor - 1) * house.floor_m if floor else 0.3
        high = house.ground_m + floor * house.floor_m
        canvas.rect(0, high - 0.2, house.width, high, beam)
        u = 0.0
        while u < house.width:
            canvas.rect(u, low, u + 0.17, high, beam)
            if floor and dice.chance(0.35):
                steps = max(canvas.at(high - low), 1)
                lean = dice.sign()
                for i in range(steps):
                    along = step * (i / steps if lean > 0 else 1 - i / steps)
                    a = canvas.at(u + along)
                    canvas.texels[a : a + 2, canvas.at(low) + i] = beam
            u += step
    for i in range(3):
        v = house.eaves_m + i * 1.1
        canvas.rect(0, v, house.width, v + 0.17, beam)


def _ornaments(canvas: Canvas, house: House, dice: Dice) -> None:
    style, trim = house.style, texel(house.style.trim)
    if dice.chance(0.3):  # a plinth
        canvas.rect(0, 0, house.width, dice.between(0.5, 1.0), texel(style.trim, light=0.7))
    if dice.chance(style.bands):
        for floor in range(house.floors - 1 if dice.chance(0.6) else 1):
            v = house.ground_m + floor * house.floor_m
            canvas.rect(0, v, house.width, v + 0.22, trim)
            canvas.shade(0, v - 0.1, house.width, v, 5)
    if dice.chance(style.quoins):
        for i in range(int(house.eaves_m / 0.4)):
            wide = 0.55 if i % 2 else 0.35
            canvas.rect(0, i * 0.4 + 0.05, wide, i * 0.4 + 0.4, trim)
            canvas.rect(house.width - wide, i * 0.4 + 0.05, house.width, i * 0.4 + 0.4, trim)
    elif dice.chance(0.15):  # pilasters
        count = dice.whole(2, 4)
        for i in range(count + 1):
            u = (house.width - 0.4) * i / count
            canvas.rect(u, 0, u + 0.4, house.eaves_m, texel(style.trim, light=0.95))
    canvas.rect(0, 0, 0.09, house.eaves_m, texel(house.wall, light=0.55))
    cornice = dice.between(0.2, 0.6)
    canvas.rect(0, house.eaves_m - cornice, house.width, house.eaves_m, trim)
    canvas.shade(0, house.eaves_m - cornice - 0.2, house.width, house.eaves_m - cornice, 5)
    if dice.chance(0.4):  # dentils
        a = canvas.at(house.eaves_m - cornice)
        canvas.texels[::3, a : a + 2] = texel(style.trim, light=0.6)


def _openings(canvas: Canvas, house: House, dice: Dice) -> None:
    style = house.style
    bays = max(int(house.width / dice.between(*style.bay_m)), 1)
    step = house.width / bays
    w = min(dice.between(*style.window_w), step - 0.35)
    h = min(dice.between(*style.window_h), house.floor_m - 0.75)
    if style.ribbon and dice.chance(0.6):
        w = step - 0.12
    across = 1 if w < 0.95 else dice.pick((2, 2, 2, 3) if w > 1.3 else (1, 2, 2))
    panes = (across, dice.pick((1, 2, 2, 3, 4)))
    arch = dice.chance(style.arch)
    pane = windows.make_window(
        dice, w, h, PER_M, house.frame, style.trim, arch, panes, dice.chance(0.45)
    )
    upper = pane
    if dice.chance(0.35):  # the top floor has smaller windows
        upper = windows.make_window(
            dice, w, h * 0.7, PER_M, house.frame, style.trim, False, panes, False
        )
    shutter = (
        dice.pick(shopfront.DOORS) if dice.chance(style.shutters) and w < step * 0.55 else None
    )
    rail = dice.chance(style.balconies)
    rail_floors = {dice.whole(1, max(house.floors - 1, 1)) for _ in range(dice.whole(1, 3))}
    rail_bays = dice.pick(("all", "all", "centre", "odd"))
    blank = dice.whole(0, bays - 1) if bays > 2 and dice.chance(0.25) else -1
    shift = dice.between(-0.3, 0.3) if bays > 1 and dice.chance(0.3) else 0.0
    sill = dice.between(0.7, 0.95)
    door_bay = dice.whole(0, bays - 1)
    if house.shop:
        _shops(canvas, house, dice)
    for floor in range(house.floors):
        if floor == 0 and house.shop:
            continue
        base = house.ground_m + (floor - 1) * house.floor_m if floor else 0.35
        top = floor == house.floors - 1
        for bay in range(bays):
            middle = (bay + 0.5) * step + (shift if bay % 2 else -shift)
            if floor == 0 and bay == door_bay:
                if step > 2.6 and dice.chance(0.25):
                    shopfront.garage(canvas, middle - 1.2, middle + 1.2, 2.4, dice)
                else:
                    shopfront.door(canvas, middle - 0.55, dice, style.trim)
                continue
            if bay == blank and floor:
                continue
            which = upper if top and floor else pane
            u, v = middle - w / 2, base + sill
            which.paste(canvas, u, v, dice)
            canvas.shade(u, v - 0.17, u + w, v - 0.08, 5)
            if shutter is not None:
                windows.shutters(canvas, u, v, w, which.height, shutter, dice)
            centre = abs(bay - (bays - 1) / 2) <= 0.5
            if rail and floor in rail_floors and (
                rail_bays == "all" or (rail_bays == "odd" and bay % 2) or
                (rail_bays == "centre" and centre)
            ):  # fmt: skip
                windows.railing(canvas, u - 0.3, u + w + 0.3, v - 0.1, (44, 44, 48))


def _shops(canvas: Canvas, house: House, dice: Dice) -> None:
    """The ground floor of a house with shops: one or two of them, and now and then a door."""
    margin = dice.between(0.1, 0.4)
    left, right = margin, house.width - margin
    if house.width > 6.5 and dice.chance(0.75):
        u = margin + 0.2 if dice.chance(0.5) else house.width - 1.7
        shopfront.door(canvas, u, dice, house.style.trim)
        left, right = (left + 1.8, right) if u < 2 else (left, right - 1.8)
    cut = (left + right) / 2
    if right - left > 9:
        shopfront.shop(canvas, left, cut - 0.15, house.ground_m - 0.35, dice)
        shopfront.shop(canvas, cut + 0.15, right, house.ground_m - 0.35, dice)
    else:
        shopfront.shop(canvas, left, right, house.ground_m - 0.35, dice)


def _add_details(canvas: Canvas, house: House, dice: Dice) -> None:
    """Rare details: pipes, ivy, graffiti, a mural, a banner."""
    if dice.chance(0.5):
        u = dice.pick((0.2, house.width - 0.35))
        canvas.rect(u, 0, u + 0.12, house.eaves_m, texel((86, 88, 86)))
    if dice.chance(0.08):
        _ivy(canvas, house, dice)
    if dice.chance(0.10):
        u = dice.between(0.3, house.width * 0.7)
        _mural(canvas, u, 0.3, u + dice.between(1.0, 2.5), 1.7, dice, bold=True)
    if dice.chance(0.10):
        u = dice.between(0.1, 0.8) * house.width
        low = house.ground_m + 0.4
        colour = dice.pick(shopfront.SIGNS)
        canvas.rect(u, low, u + 0.8, low + 3.2, texel(colour))
        canvas.rect(u + 0.2, low + 0.5, u + 0.6, low + 2.6, texel((238, 234, 226)))
    if dice.chance(0.08):
        c = dice.between(0.3, 0.7) * house.width
        v = house.eaves_m - 1.3
        canvas.rect(c - 0.6, v - 0.6, c + 0.6, v + 0.6, texel((236, 234, 226), 201))
        canvas.rect(c - 0.05, v, c + 0.05, v + 0.5, texel((30, 30, 34)))
        canvas.rect(c, v - 0.05, c + 0.4, v + 0.05, texel((30, 30, 34)))


def _ivy(canvas: Canvas, house: House, dice: Dice) -> None:
    w, h = canvas.width, canvas.at(house.eaves_m)
    noise = noise_tile(256, 8, 7)
    shift = dice.whole(0, 255)
    u, v = np.arange(w)[:, None], np.arange(h)[None, :]
    blob = noise[(u + shift) % 256, v % 256]
    heart = dice.between(0.0, 1.0) * w
    wide, high = dice.between(1.0, 2.8) * PER_M, dice.between(0.4, 1.0) * h
    # Widest at the foot, thinning out upwards, with a ragged edge.
    reach = np.float32(wide) * (1 - v / np.float32(high)) - np.abs(u - np.float32(heart))
    grown = reach / np.float32(14) + blob * np.float32(1.6) > 1.0
    leaf = 62 + 44 * blob + (hash_grid(u + 0 * v, v + 0 * u, 9) >> np.uint32(27)).astype(np.float32)
    green = pack_planes(leaf * np.float32(0.68), leaf, leaf * np.float32(0.52), LEAF)
    np.copyto(canvas.texels[:, :h], green, where=grown)


def _mural(canvas: Canvas, u0: float, v0: float, u1: float, v1: float, dice: Dice,
           bold: bool = False) -> None:  # fmt: skip
    """Large painted shapes; ``bold`` leaves the wall between them (graffiti)."""
    colours: list[Colour] = [dice.pick(shopfront.SIGNS) for _ in range(4)]
    if not bold:
        canvas.rect(u0, v0, u1, v1, texel(colours[0]))
    a, b, c, d = canvas.at(u0), canvas.at(v0), canvas.at(u1), canvas.at(v1)
    u = np.arange(a, min(c, canvas.width), dtype=np.float32)[:, None]
    v = np.arange(b, min(d, canvas.height), dtype=np.float32)[None, :]
    part = canvas.texels[a : min(c, canvas.width), b : min(d, canvas.height)]
    for i in range(4 if bold else 6):
        cu, cv = dice.between(a, c), dice.between(b, d)
        ru = max(dice.between(0.08, 0.35) * (c - a), 2.0)
        rv = max(dice.between(0.08, 0.35) * (d - b), 2.0)
        du, dv = (u - np.float32(cu)) / np.float32(ru), (v - np.float32(cv)) / np.float32(rv)
        inside = du * du + dv * dv < 1 if dice.chance(0.6) else np.abs(du) + np.abs(dv) < 1
        part[inside] = texel(colours[1 + i % 3])
