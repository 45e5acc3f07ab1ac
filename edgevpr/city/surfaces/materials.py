"""Wall surfaces: brick, stone, plaster, panels, boards, as brightness tiles."""

import functools

import numpy as np

from edgevpr.city.exact_math import F32, hash_grid, noise_tile

SIZE = 256


def _blocks(width: int, height: int, joint: float, spread: float, seed: int, shift: bool) -> F32:
    """Courses of blocks: each with its own brightness, darker (or lighter) joints between."""
    u, v = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    course = v // height
    u = (u + (course % 2) * (width // 2)) % SIZE if shift else u
    own = (hash_grid(u // width, course, seed) >> np.uint32(8)).astype(np.float32)
    tile = 1 + np.float32(spread) * (own / np.float32(1 << 23) - 1)
    gap = (v % height == 0) | (u % width == 0)
    blocks: F32 = np.where(gap, np.float32(joint), tile).astype(np.float32)
    return blocks


@functools.lru_cache(maxsize=16)
def surface(material: str) -> F32:
    """(256, 256) brightness factors around 1 for a material, periodic, columns first."""
    fine = noise_tile(SIZE, 2, 11) - np.float32(0.5)
    soft = noise_tile(SIZE, 32, 12) - np.float32(0.5)
    tile: F32
    if material == "brick":
        tile = _blocks(4, 2, 1.0, 0.20, 21, True) + np.float32(0.08) * soft
        courses = np.arange(SIZE) % 4 == 0
        tile = tile * np.where(courses, np.float32(0.86), np.float32(1.02))[None, :]
    elif material == "stone":
        tile = _blocks(16, 8, 0.74, 0.12, 22, True) + np.float32(0.10) * fine
    elif material == "rubble":
        tile = _blocks(6, 5, 0.70, 0.28, 23, True) + np.float32(0.14) * fine
    elif material == "panel":
        tile = _blocks(32, 32, 0.70, 0.06, 24, False) + np.float32(0.04) * fine
    elif material == "boards":
        tile = _blocks(256, 3, 0.80, 0.07, 25, False) + np.float32(0.05) * fine
    else:  # plaster
        tile = 1 + np.float32(0.10) * soft + np.float32(0.07) * fine
    return tile.astype(np.float32)


def wall(material: str, columns: int, rows: int, shift: tuple[int, int]) -> F32:
    """A piece of wall: (columns, rows) brightness factors, cut from the tile at ``shift``."""
    u = (np.arange(columns) + shift[0]) % SIZE
    v = (np.arange(rows) + shift[1] * 8) % SIZE
    piece: F32 = surface(material)[u[:, None], v[None, :]]
    return piece
