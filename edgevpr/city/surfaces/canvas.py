"""Canvas for painting a texture in metres, origin at the lower left."""

import numpy as np

from edgevpr.city.exact_math import U32
from edgevpr.city.layout.style import Colour
from edgevpr.city.surfaces.atlas import pack


class Canvas:
    """(columns, rows) packed texels with rectangles, patches and outlines."""

    def __init__(self, width_m: float, height_m: float, per_m: float, fill: int = 0) -> None:
        self.per_m = per_m
        self.width = max(int(width_m * per_m + 0.5), 1)
        self.height = max(int(height_m * per_m + 0.5), 1)
        self.texels: U32 = np.full((self.width, self.height), fill, np.uint32)

    def at(self, metres: float) -> int:
        """Texel that a length in metres reaches."""
        return int(metres * self.per_m + 0.5)

    def rect(self, u0: float, v0: float, u1: float, v1: float, texel: int) -> None:
        """Fill [u0, u1) x [v0, v1) metres; a rectangle is never thinner than one texel."""
        a, b = max(self.at(u0), 0), max(self.at(v0), 0)
        c, d = max(self.at(u1), a + 1), max(self.at(v1), b + 1)
        self.texels[a:c, b:d] = texel

    def shade(self, u0: float, v0: float, u1: float, v1: float, eighths: int) -> None:
        """Darken a rectangle to ``eighths`` / 8 of its brightness, codes kept."""
        a, b = max(self.at(u0), 0), max(self.at(v0), 0)
        part = self.texels[a : max(self.at(u1), a + 1), b : max(self.at(v1), b + 1)]
        red_blue = (((part & 0xFF00FF) * np.uint32(eighths)) >> 3) & 0xFF00FF
        green = (((part & 0xFF00) * np.uint32(eighths)) >> 3) & 0xFF00
        part[...] = (part & 0xFF000000) | red_blue | green

    def paste(self, u: int, v: int, patch: U32) -> None:
        """Put a patch with its lower left corner at a texel; its CLEAR texels are skipped."""
        a, b = max(u, 0), max(v, 0)
        room = self.texels[a : u + patch.shape[0], b : v + patch.shape[1]]
        piece = patch[a - u : a - u + room.shape[0], b - v : b - v + room.shape[1]]
        np.copyto(room, piece, where=(piece >> np.uint32(24)) != 255)


def texel(colour: Colour, code: int = 0, light: float = 1.0) -> int:
    """A colour as a texel, made lighter or darker."""
    return pack(colour[0] * light, colour[1] * light, colour[2] * light, code)
