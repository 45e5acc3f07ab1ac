"""Random numbers, noise and angles with the same bits on every machine.

Pixels are made with ``+ - * / sqrt floor``, integer hashing and tables: IEEE 754 fixes those to the
last bit, while ``sin``, ``exp`` or ``pow`` differ between C libraries and SIMD widths.
"""

import functools
import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]

T = TypeVar("T")

_WORD = 0xFFFFFFFFFFFFFFFF
_RADIANS = 0.017453292519943295


class Dice:
    """A random stream named by what it is for, so that streams never depend on drawing order.

    ``Dice(seed, "building", 17)`` is the same stream in any process. Of the standard library's
    generator only ``random()`` and ``getrandbits()`` are used, which all versions draw alike.
    """

    def __init__(self, *names: int | str) -> None:
        digest = hashlib.blake2b(repr(names).encode(), digest_size=8).digest()
        source = random.Random(int.from_bytes(digest, "little"))
        self.random = source.random  # uniform in [0, 1)
        self._bits = source.getrandbits

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.random()

    def whole(self, low: int, high: int) -> int:
        """A whole number in [low, high], both ends included."""
        return low + int(self.random() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self.random() * len(items))]

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.random() < probability

    def sign(self) -> int:
        """-1 or 1."""
        return 1 if self.random() < 0.5 else -1

    def bell(self, spread: float) -> float:
        """Bell-shaped in [-spread, spread]: the mean of two uniforms."""
        return spread * (self.random() + self.random() - 1.0)

    def bytes(self, count: int) -> U8:
        """``count`` random bytes."""
        return np.frombuffer(self._bits(8 * count).to_bytes(count, "little"), np.uint8)


def toss(*numbers: int) -> float:
    """One uniform in [0, 1) named by whole numbers: cheaper than a stream where one is enough."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = ((state ^ (number & _WORD)) * 0xBF58476D1CE4E5B9) & _WORD
        state ^= state >> 29
    state = (state * 0x94D049BB133111EB) & _WORD
    return ((state ^ state >> 32) >> 11) / 9007199254740992.0


def sincos(degrees: float) -> tuple[float, float]:
    """Sine and cosine of an angle in degrees, by a Taylor series on [-45, 45]."""
    quarter = int((degrees + 45.0) // 90.0)
    x = (degrees - 90.0 * quarter) * _RADIANS
    square = x * x
    sine, cosine, term = x, 1.0, x
    term_cos = 1.0
    for n in range(1, 9):
        term_cos = -term_cos * square / ((2 * n - 1) * (2 * n))
        cosine = cosine + term_cos
        term = -term * square / ((2 * n) * (2 * n + 1))
        sine = sine + term
    turned = ((sine, cosine), (cosine, -sine), (-sine, -cosine), (-cosine, sine))
    return turned[quarter % 4]


def hash_grid(x: NDArray[np.integer], y: NDArray[np.integer], seed: int) -> U32:
    """A 32-bit hash of whole-number coordinates (murmur3's finalizer)."""
    h: U32 = x.astype(np.uint32) * np.uint32(0x9E3779B1)
    h = h ^ (y.astype(np.uint32) * np.uint32(0x85EBCA77))
    h = h + np.uint32((seed * 0x27D4EB2F) & 0xFFFFFFFF)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h


@functools.lru_cache(maxsize=64)
def noise_tile(size: int, cell: int, seed: int) -> F32:
    """(size, size) periodic smooth value noise in [0, 1) with features of ``cell`` texels."""
    lattice = size // cell
    at = np.arange(size)
    low, part = at // cell, ((at % cell).astype(np.float32) + np.float32(0.5)) / np.float32(cell)
    ease = part * part * (np.float32(3) - np.float32(2) * part)
    gx, gy = np.meshgrid(np.arange(lattice), np.arange(lattice), indexing="ij")
    value = (hash_grid(gx, gy, seed) >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)
    high = (low + 1) % lattice
    ex, ey = ease[:, None], ease[None, :]
    near = value[low][:, low] * (1 - ey) + value[low][:, high] * ey
    far = value[high][:, low] * (1 - ey) + value[high][:, high] * ey
    tile: F32 = near * (1 - ex) + far * ex
    tile.flags.writeable = False
    return tile


@functools.lru_cache(maxsize=16)
def fractal_tile(size: int, seed: int, octaves: tuple[int, ...] = (64, 32, 16, 8)) -> F32:
    """Noise of several octaves, in [0, 1)."""
    total = np.zeros((size, size), np.float32)
    weight, whole = 1.0, 0.0
    for n, cell in enumerate(octaves):
        total += np.float32(weight) * noise_tile(size, cell, seed + 101 * n)
        whole += weight
        weight *= 0.5
    total /= np.float32(whole)
    total.flags.writeable = False
    return total
