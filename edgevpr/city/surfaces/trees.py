"""Trees as flat cut-outs: crown or bare branches on a trunk."""

import numpy as np

from edgevpr.city.exact_math import U32, Dice, hash_grid, sincos
from edgevpr.city.surfaces.atlas import CLEAR, EVERGREEN, LEAF, pack

PER_M = 20.0


def tree(dice: Dice, width: float, height: float, kind: str) -> U32:
    """A tree of ``width`` x ``height`` metres; kind is leafy, bare or conifer."""
    w, h = int(width * PER_M), int(height * PER_M)
    texels = np.full((w, h), CLEAR << 24, np.uint32)
    bark = pack(84, 70, 58)
    if kind == "conifer":
        return _conifer(texels, dice)
    fork = h * dice.between(0.28, 0.36)
    half = max(w // 40, 1)
    texels[w // 2 - half : w // 2 + half + 1, : int(fork) + 4] = bark
    texels[w // 2 - half, : int(fork)] = pack(60, 50, 44)
    _branches(texels, dice, w / 2, fork, 90.0, h * 0.27, 0, bark)
    if kind == "leafy":
        _crown(texels, dice, fork)
    return texels


def _branches(texels: U32, dice: Dice, u: float, v: float, angle: float, length: float,
              depth: int, ink: int) -> None:  # fmt: skip
    w, h = texels.shape
    for _ in range(4 if depth == 0 else 3 if depth < 3 else 2):
        turn = angle + dice.bell(62.0 if depth == 0 else 55.0)
        sine, cosine = sincos(turn)
        reach = length * dice.between(0.75, 1.15)
        steps = int(reach) + 1
        along = np.arange(steps)
        at = np.clip((u + cosine * along).astype(np.int64), 0, w - 2)
        up = np.clip((v + sine * along).astype(np.int64), 0, h - 1)
        texels[at, up] = ink
        if depth < 2:
            texels[at + 1, up] = ink
        if depth < 4:
            _branches(texels, dice, u + cosine * reach, v + sine * reach, turn, length * 0.62,
                      depth + 1, ink)  # fmt: skip


def _crown(texels: U32, dice: Dice, fork: float) -> None:
    w, h = texels.shape
    u, v = np.arange(w)[:, None], np.arange(h)[None, :]
    grain = (hash_grid(u + 0 * v, v + 0 * u, dice.whole(0, 9999)) >> np.uint32(24)).astype(
        np.float32
    )
    centre_v, half_u, half_v = (fork * 0.8 + h) / 2, w / 2, (h - fork * 0.8) / 2
    hue = dice.between(0.42, 0.66), dice.between(0.28, 0.42)
    for blob in range(46):
        sine, cosine = sincos(dice.between(0, 360))
        reach = 1 - dice.random() * dice.random()
        radius = dice.between(0.12, 0.24) * w
        cu = half_u + cosine * reach * (half_u - radius)
        cv = centre_v + sine * reach * max(half_v - radius, 1)
        du, dv = (u - np.float32(cu)), (v - np.float32(cv))
        inside = du * du + dv * dv + grain * np.float32(0.0024) * radius * radius < radius * radius
        inside &= (grain.astype(np.int64) + 37 * blob) & 255 > 20
        light = 84 + 40 * (cv - centre_v) / half_v + dice.between(-16, 16)
        green = np.clip(light + dv / np.float32(radius) * 16 + (grain - 128) / 7, 20, 230)
        colour = (
            (green * np.float32(hue[0])).astype(np.uint32)
            | green.astype(np.uint32) << 8
            | (green * np.float32(hue[1])).astype(np.uint32) << 16
            | np.uint32(LEAF << 24)
        )
        np.copyto(texels, colour.astype(np.uint32), where=inside)


def _conifer(texels: U32, dice: Dice) -> U32:
    w, h = texels.shape
    texels[w // 2 - 1 : w // 2 + 2, : h // 6] = pack(70, 56, 46)
    v = np.arange(h)
    tiers = dice.whole(5, 8)
    span = (v - h * 0.1) / (h * 0.9)
    tooth = 1 - (span * tiers) % 1.0
    half = np.maximum((1 - span) * (0.55 + 0.45 * tooth), 0) * (w / 2) * (v > h * 0.1)
    u = np.arange(w)
    inside = np.abs(u[:, None] + 0.5 - w / 2) < half[None, :]
    grain = (hash_grid(u[:, None] + 0 * v, v + 0 * u[:, None], 77) >> np.uint32(27)).astype(
        np.uint32
    )
    green = np.uint32(46) + grain + (tooth[None, :] * 20).astype(np.uint32)
    colour = (green * 5 // 9) | green << 8 | (green * 6 // 9) << 16 | np.uint32(EVERGREEN << 24)
    np.copyto(texels, colour.astype(np.uint32), where=inside)
    return texels
