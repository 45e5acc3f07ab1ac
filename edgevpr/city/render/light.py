"""Light on surfaces by hour, season and weather."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.city.exact_math import F32, Dice, sincos
from edgevpr.city.layout.conditions import LEAVES, Conditions
from edgevpr.city.layout.pose import View
from edgevpr.city.layout.style import Colour
from edgevpr.city.surfaces import atlas as code
from edgevpr.city.surfaces.district import SHADOW_PER_M, District

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """Light of a visit, linear (the square of a pixel value over 255)."""

    sun: Triple
    ambient: Triple
    lamps: Triple
    sun_x: float  # horizontal direction towards the sun, times the cosine of its elevation
    sun_y: float
    sun_up: float
    leaf: Colour
    tint: F32  # (256, 3) factor on the colour of each code
    cover: F32  # (256,) white added to it (snow)
    glow: F32  # (256, 3) light of its own
    own: F32  # (256,) how much of its colour shines by itself
    special: NDArray[np.bool_]  # (256,) codes that any of these tables changes
    shines: bool  # whether anything glows


def light_of(conditions: Conditions) -> Light:
    """The light of a visit."""
    c, dice = conditions, Dice(conditions.seed, "light")
    sine, cosine = sincos(c.sun_azimuth)
    flat = 1.0 / math.sqrt(1.0 + c.sun_slope * c.sun_slope)
    clear = 1.0 - 0.9 * c.cloud
    if c.hour == "day":
        warm = 1.0 / (1.0 + 4.0 * c.sun_slope)  # lower sun, redder light
        sun = (1.3 * clear, (1.22 - 0.28 * warm) * clear, (1.12 - 0.6 * warm) * clear)
        base = 0.33 + 0.24 * c.cloud
        ambient = (base * 0.96, base, base * 1.06)
        lamps = (0.0, 0.0, 0.0)
    elif c.hour == "dusk":
        sun = (0.34 * clear, 0.19 * clear, 0.09 * clear)
        tone = dice.random()
        ambient = (0.17 + 0.06 * tone, 0.16, 0.22 - 0.05 * tone)
        lamps = (0.30, 0.23, 0.12)
    else:
        sun = (0.0, 0.0, 0.0)
        ambient = (0.074, 0.082, 0.118)
        tone = dice.random()  # sodium to white
        lamps = (1.25, 0.84 + 0.25 * tone, 0.40 + 0.5 * tone)
    leaf = dice.pick(LEAVES[c.season])
    tint, cover = np.ones((256, 3), np.float32), np.zeros(256, np.float32)
    wet = 1.0 - 0.25 * c.wet
    tint[code.LEAF] = [(v / 160) * (v / 160) for v in leaf]
    tint[code.ROOF] = wet
    cover[code.ROOF] = 0.72 * c.snow
    cover[code.EVERGREEN], cover[code.LEAF] = 0.24 * c.snow, 0.2 * c.snow
    glow, own = _glow(c, dice)
    return Light(
        sun=sun, ambient=ambient, lamps=lamps, sun_x=sine * flat, sun_y=cosine * flat,
        sun_up=c.sun_slope * flat, leaf=leaf, tint=tint, cover=cover, glow=glow, own=own,
        special=(tint != 1).any(axis=1) | (cover > 0) | (glow > 0).any(axis=1) | (own > 0),
        shines=bool(glow.any() or own.any()),
    )  # fmt: skip


def _glow(c: Conditions, dice: Dice) -> tuple[F32, F32]:
    """Lit panes, lamps and signs."""
    glow, own = np.zeros((256, 3), np.float32), np.zeros(256, np.float32)
    share = {"day": 0.0, "dusk": 0.35, "night": dice.between(0.25, 0.6)}[c.hour]
    strong = {"day": 0.0, "dusk": 0.35, "night": 0.6}[c.hour]
    panes = code.LAST_PANE
    lit, tone, level, mirror = dice.bytes(4 * panes).reshape(4, panes).astype(np.float32) / 256
    if c.hour == "day":  # the sky in the glass
        shine = np.float32(0.07) * mirror
        colour = np.stack([shine * np.float32(0.9), shine, shine * np.float32(1.15)], axis=1)
    else:
        shine = np.float32(strong) * (np.float32(0.4) + np.float32(0.6) * level)
        shine *= lit < np.float32(share)
        warm = np.float32(0.62) + tone * np.float32(0.3)
        blue = np.float32(0.22) + tone * np.float32(0.6)
        colour = np.stack([shine, shine * warm, shine * blue], axis=1)
    glow[1 : panes + 1] = colour
    if c.hour != "day":
        own[code.SHOP_GLASS] = 1.6 * strong
        glow[code.SHOP_GLASS] = (0.42 * strong, 0.38 * strong, 0.30 * strong)
        own[code.SIGN] = 1.1 * strong
        glow[code.LAMP] = (1.6, 1.35, 0.9)
        glow[code.HEADLIGHT] = (1.5, 1.45, 1.2)
        glow[code.TAILLIGHT] = (0.8, 0.04, 0.03)
    return glow, own


def shadows(district: District, x: F32, y: F32, z: F32, light: Light) -> F32:
    """1 where the sun reaches a point, 0 where a house stands between. Arrays of one shape."""
    if light.sun[0] <= 0.02:
        return np.ones_like(x)
    roofs = district.roofs
    flat = math.sqrt(light.sun_x * light.sun_x + light.sun_y * light.sun_y)
    slope = light.sun_up / flat
    u, v = x * np.float32(SHADOW_PER_M), y * np.float32(SHADOW_PER_M)
    blocked = np.zeros(x.shape, bool)
    table, stride = roofs.ravel(), roofs.shape[1]
    for step in (1.2, 2.2, 3.6, 5.4, 7.6, 10.5, 14.0, 19.0, 26.0):
        if step * slope > 24:
            break
        far = step * SHADOW_PER_M / flat
        i = (u + np.float32(light.sun_x * far)).astype(np.int32)
        j = (v + np.float32(light.sun_y * far)).astype(np.int32)
        np.clip(i, 0, roofs.shape[0] - 1, out=i)
        np.clip(j, 0, stride - 1, out=j)
        blocked |= table[i * stride + j] > z + np.float32(step * slope)
    return 1 - blocked.astype(np.float32)


def lamp_light(district: District, view: View, x: F32, y: F32, z: F32) -> F32:
    """Brightness that street lamps throw on points, 1 right under one."""
    fixed, pose = district.fixtures, view.pose
    dx, dy = fixed.lamp_x - pose.x, fixed.lamp_y - pose.y
    forward = dx * view.fx + dy * view.fy
    right = dx * view.rx + dy * view.ry
    near = (forward > -12) & (forward < 70) & (np.abs(right) < np.abs(forward) + 16)
    order = np.argsort(forward[near], kind="stable")[:9]
    total = np.zeros(x.shape, np.float32)
    up = (z - np.float32(5.0)) * (z - np.float32(5.0)) * np.float32(0.4)
    for lamp in np.flatnonzero(near)[order]:
        ox, oy = x - np.float32(fixed.lamp_x[lamp]), y - np.float32(fixed.lamp_y[lamp])
        fall = 1 / (1 + (ox * ox + oy * oy + up) * np.float32(1 / 60))
        total += fall * fall
    total /= 1 + np.float32(0.5) * total
    return total
