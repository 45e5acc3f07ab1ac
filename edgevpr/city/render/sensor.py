"""Sensor model: motion blur, defocus, exposure, noise, eight bits."""

import numpy as np

from edgevpr.city.exact_math import F32, U8, Dice
from edgevpr.city.layout.conditions import Conditions


def develop(planes: list[F32], conditions: Conditions) -> U8:
    """Linear planes (H, W) -> (H, W, 3) uint8 RGB."""
    dice = Dice(conditions.seed, "sensor", int(conditions.time_s * 1000 + 0.5))
    height, width = planes[0].shape
    slant = dice.bell(0.35)
    gain = np.float32(conditions.exposure)
    warm = 0.14 * conditions.warmth
    raw = dice.bytes(height * width * 4).reshape(4, height, width)
    # Four bytes' sum is close to a normal law; red and blue share the luminance grain of green.
    grain = (raw[0].astype(np.float32) + raw[1] + raw[2] + raw[3] - np.float32(510)) / 148
    out = np.empty((height, width, 3), np.uint8)
    for channel, balance in enumerate((1 + warm, 1.0, 1 - warm)):
        plane = planes[channel] * (gain * np.float32(balance))
        if conditions.motion > 0.5:
            plane = _smear(plane, conditions.motion, slant)
        if conditions.defocus > 0.1:
            plane = _defocus(plane, conditions.defocus)
        # A soft shoulder keeps bright sky and lamps from clipping hard.
        plane = plane / (np.float32(0.86) + np.float32(0.14) * plane)
        plane = np.sqrt(np.maximum(plane, 0)) * 255
        shifted = grain if channel == 1 else np.roll(grain, 17 * channel + 5, axis=1)
        plane = plane + (grain * np.float32(0.6) + shifted * np.float32(0.8)) * np.float32(
            conditions.noise
        )
        out[..., channel] = np.clip(plane + np.float32(0.5), 0, 255).astype(np.uint8)
    return out


def _shift(plane: F32, across: int, down: int) -> F32:
    """The plane moved by whole pixels, its edge repeated."""
    rows = np.clip(np.arange(plane.shape[0]) - down, 0, plane.shape[0] - 1)
    columns = np.clip(np.arange(plane.shape[1]) - across, 0, plane.shape[1] - 1)
    moved: F32 = plane[rows][:, columns]
    return moved


def _smear(plane: F32, length: float, slant: float) -> F32:
    taps = int(length) + 1
    total: F32 = plane.copy()
    for i in range(1, taps + 1):
        weight = np.float32(1.0 if i < taps else length + 1 - taps)
        total += _shift(plane, i, int(i * slant)) * weight
    total /= np.float32(length + 1)
    return total


def _defocus(plane: F32, radius: float) -> F32:
    side = np.float32(radius / 2 if radius < 1 else 0.5)
    centre = 1 - side
    for axis in ((1, 0), (0, 1)):
        pair = _shift(plane, *axis) + _shift(plane, -axis[0], -axis[1])
        plane = plane * centre + pair * (side / 2)
    return plane
