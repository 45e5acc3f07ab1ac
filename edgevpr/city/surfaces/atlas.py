"""Texture memory: packed texels, four levels of detail, skylines.

A texel is 32 bits: red, green, blue (gamma 2) and a code saying how it takes light. Textures are
stored column by column from the ground up, so that one image column reads consecutive memory.
"""

import numpy as np

from edgevpr.city.exact_math import F32, F64, I64, U32

LEVELS = 4

#: Codes. 1..199 are panes of glass: which of them are lit at night is drawn from the visit.
PLAIN = 0
LAST_PANE = 199
SHOP_GLASS = 200
SIGN = 201  # lit from inside at night
LAMP = 202
HEADLIGHT = 203
TAILLIGHT = 204
LEAF = 210  # follows the season
EVERGREEN = 211
ROOF = 220  # catches snow
GROUND = 221
SKY = 254
CLEAR = 255  # transparent


def pack(red: float, green: float, blue: float, code: int = PLAIN) -> int:
    """One texel from channels in 0..255."""
    r, g, b = (min(max(int(c), 0), 255) for c in (red, green, blue))
    return r | g << 8 | b << 16 | code << 24


def pack_planes(red: F32, green: F32, blue: F32, code: int = PLAIN) -> U32:
    """Texels from float planes in 0..255."""
    planes = [np.clip(c, 0, 255).astype(np.uint32) for c in (red, green, blue)]
    texels: U32 = planes[0] | planes[1] << 8 | planes[2] << 16 | np.uint32(code << 24)
    return texels


def halve(texels: U32) -> U32:
    """The next level of detail: colours averaged over 2 x 2, the code of one of the four."""
    w, h = texels.shape
    texels = texels[: max(w & ~1, 1), : max(h & ~1, 1)]
    if w < 2 or h < 2:
        return texels[::2, ::2] if w >= 2 or h >= 2 else texels
    four = (texels[0::2, 0::2], texels[1::2, 0::2], texels[0::2, 1::2], texels[1::2, 1::2])
    # Red and blue share one sum: four bytes fit in ten bits, sixteen bits apart.
    red_blue = four[0] & np.uint32(0xFF00FF)
    green = (four[0] >> np.uint32(8)) & np.uint32(0xFF)
    for texel in four[1:]:
        red_blue += texel & np.uint32(0xFF00FF)
        green += (texel >> np.uint32(8)) & np.uint32(0xFF)
    result: U32 = ((red_blue >> 2) & 0xFF00FF) | (green >> 2) << 8 | (four[0] & 0xFF000000)
    return result


class Atlas:
    """All textures of a district in one array, so that a frame is one gather."""

    def __init__(self) -> None:
        self.texels: U32 = np.zeros(1 << 26, np.uint32)  # untouched pages cost nothing
        self.skyline: F32 = np.zeros(1 << 14, np.float32)
        self.base: I64 = np.zeros((256, LEVELS), np.int64)
        self.columns: I64 = np.zeros((256, LEVELS), np.int64)
        self.rows: I64 = np.zeros((256, LEVELS), np.int64)
        self.per_m: F64 = np.zeros(256, np.float64)
        self.profile: I64 = np.full(256, -1, np.int64)
        self.count = 0
        self._used = 0
        self._used_skyline = 0

    @property
    def used(self) -> int:
        """Texels in use."""
        return self._used

    def mark(self) -> tuple[int, int, int]:
        """End of the textures stored so far, for ``rewind``."""
        return self.count, self._used, self._used_skyline

    def rewind(self, mark: tuple[int, int, int]) -> None:
        """Drop every texture added since ``mark``."""
        self.count, self._used, self._used_skyline = mark

    def add(self, texels: U32, per_m: float, skyline: F32 | None = None) -> int:
        """Store a texture and its coarser levels.

        Args:
            texels: (columns, rows), rows from the ground up.
            per_m: texels a metre at the finest level.
            skyline: height in metres of what stands at each column; None for a full rectangle.

        Returns:
            The texture's number.
        """
        number = self.count
        if number == len(self.per_m):
            for name in ("base", "columns", "rows", "per_m", "profile"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.full_like(old, -1)]))
        self.count += 1
        self.per_m[number] = per_m
        for level in range(LEVELS):
            size = texels.size
            while self._used + size > len(self.texels):
                self.texels = np.concatenate([self.texels, np.zeros_like(self.texels)])
            self.texels[self._used : self._used + size] = texels.ravel()
            self.base[number, level] = self._used
            self.columns[number, level], self.rows[number, level] = texels.shape
            self._used += size
            texels = halve(texels)
        if skyline is not None:
            while self._used_skyline + len(skyline) > len(self.skyline):
                self.skyline = np.concatenate([self.skyline, np.zeros_like(self.skyline)])
            self.skyline[self._used_skyline : self._used_skyline + len(skyline)] = skyline
            self.profile[number] = self._used_skyline
            self._used_skyline += len(skyline)
        else:
            self.profile[number] = -1
        return number
