"""Sky and far skyline."""

import numpy as np

from edgevpr.city.exact_math import F32, I64, Dice, fractal_tile
from edgevpr.city.layout.conditions import Conditions
from edgevpr.city.layout.pose import View

Triple = tuple[float, float, float]

#: hour: zenith and horizon when clear, the same when overcast, clouds lit and in shade (linear).
COLOURS: dict[str, tuple[Triple, Triple, Triple, Triple, Triple, Triple]] = {
    "day": ((0.12, 0.27, 0.62), (0.52, 0.66, 0.84), (0.50, 0.53, 0.57), (0.68, 0.70, 0.72),
            (0.92, 0.92, 0.92), (0.48, 0.50, 0.54)),
    "dusk": ((0.07, 0.09, 0.22), (0.62, 0.34, 0.20), (0.13, 0.13, 0.18), (0.26, 0.21, 0.22),
             (0.46, 0.24, 0.18), (0.13, 0.11, 0.16)),
    "night": ((0.006, 0.008, 0.020), (0.030, 0.032, 0.045), (0.020, 0.019, 0.021),
              (0.045, 0.040, 0.036), (0.040, 0.036, 0.036), (0.018, 0.017, 0.020)),
}  # fmt: skip


def colours(conditions: Conditions) -> tuple[Triple, Triple]:
    """Zenith and horizon of a visit; the horizon is also the colour of haze."""
    table, c = COLOURS[conditions.hour], conditions.cloud
    mixed = [
        tuple(a + (b - a) * c for a, b in zip(table[i], table[i + 2], strict=True)) for i in (0, 1)
    ]
    return mixed[0], mixed[1]  # type: ignore[return-value]


def paint_sky(view: View, where: I64, horizon: F32, conditions: Conditions) -> list[F32]:
    """Linear colours of the sky, hills included, at the output pixels listed in ``where``."""
    dice = Dice(conditions.seed, "sky")
    slope, k = view.out_m.ravel()[where], view.out_k.ravel()[where]
    m = np.maximum(slope, np.float32(0))
    dx = np.float32(view.fx) + k * np.float32(view.rx)
    dy = np.float32(view.fy) + k * np.float32(view.ry)
    up = m / (m + np.float32(0.35))
    tile = fractal_tile(256, 61, (128, 64, 32, 16, 8))
    scale = np.float32(46) / (m + np.float32(0.12))
    u = (dx * scale + np.float32(1e5 + dice.whole(0, 255))).astype(np.int64) & 255
    v = (dy * scale + np.float32(1e5 + dice.whole(0, 255))).astype(np.int64) & 255
    cloud = tile.ravel()[u << 8 | v]
    edge = np.float32(0.72 - 0.46 * conditions.cloud)
    cover = np.clip((cloud - edge) * np.float32(7), 0, 1) * np.minimum(m * 8, 1)
    shade = np.clip((cloud - edge) * np.float32(3), 0, 1)
    total = np.abs(dx) + np.abs(dy)
    turn = dy / total
    turn = np.where(dx < 0, 2 - turn, np.where(turn < 0, 4 + turn, turn))
    hill = slope < horizon[(turn * 255.99).astype(np.int64) & 1023]
    zenith, low = colours(conditions)
    lit, dark = COLOURS[conditions.hour][4:]
    planes = []
    for channel in range(3):
        base = np.float32(low[channel]) + np.float32(zenith[channel] - low[channel]) * up
        puff = np.float32(lit[channel]) + np.float32(dark[channel] - lit[channel]) * shade
        base = base + (puff - base) * cover
        far = np.float32(low[channel] * 0.62 + 0.01 * (channel == 2))
        planes.append(np.where(hill, far, base).astype(np.float32))
    return planes
