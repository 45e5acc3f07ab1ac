"""Windows: one patch a house, pasted with the pane code of each opening."""

from dataclasses import dataclass

import numpy as np

from edgevpr.city.exact_math import U32, Dice
from edgevpr.city.layout.style import Colour
from edgevpr.city.surfaces.atlas import CLEAR, LAST_PANE, pack
from edgevpr.city.surfaces.canvas import Canvas, texel

GLASS: tuple[Colour, ...] = ((46, 54, 66), (62, 72, 84), (36, 40, 46), (84, 92, 100))
CURTAINS: tuple[Colour, ...] = ((196, 190, 176), (168, 150, 130), (150, 158, 166), (186, 166, 130))


@dataclass(frozen=True)
class Window:
    """The window of a house: size in metres and its variants as patches with glass masks."""

    width: float
    height: float
    patches: tuple[U32, ...]
    glass: tuple[U32, ...]

    def paste(self, canvas: Canvas, u: float, v: float, dice: Dice) -> None:
        """Put one at (u, v) metres, with its own curtains and pane code."""
        which = int(dice.random() * len(self.patches))
        code = 1 + int(dice.random() * LAST_PANE)
        patch = self.patches[which] + self.glass[which] * np.uint32(code << 24)
        canvas.paste(canvas.at(u), canvas.at(v), patch)


def arched(columns: int, rows: int, rise: int) -> U32:
    """1 inside an opening whose top is an arc of ``rise`` texels, 0 outside."""
    u = np.arange(columns, dtype=np.float64) + 0.5 - columns / 2
    half = columns / 2
    top = rows - rise + rise * np.sqrt(np.maximum(1 - (u / half) * (u / half), 0))
    return (np.arange(rows)[None, :] + 0.5 < top[:, None]).astype(np.uint32)


def make_window(
    dice: Dice, width: float, height: float, per_m: float, frame: Colour, trim: Colour,
    arch: bool, mullions: tuple[int, int], surround: bool,
) -> Window:  # fmt: skip
    """A window of ``width`` x ``height`` metres.

    Args:
        dice: the house's stream.
        width, height: of the opening.
        per_m: texels a metre.
        frame, trim: colours of the frame and of the sill and surround.
        arch: round or segmental top.
        mullions: panes across and up.
        surround: a band of trim around the opening.
    """
    border = 1 if surround else 0
    columns = max(int(width * per_m + 0.5), 5) + 2 * border
    rows = max(int(height * per_m + 0.5), 6) + border + 1
    rise = (columns // 2 if dice.chance(0.5) else columns // 4) if arch else 0
    outer = arched(columns, rows, rise) if arch else np.ones((columns, rows), np.uint32)
    light, dark = texel(frame), texel(frame, light=0.72)
    patches, masks = [], []
    for variant in range(4):
        colour = dice.pick(GLASS)
        patch = np.full((columns, rows), texel(trim), np.uint32)
        glass = np.zeros((columns, rows), np.uint32)
        a, b, c, d = border + 1, 2, columns - border - 1, rows - border - 1
        patch[border : columns - border, 1 : rows - border] = light
        patch[a:c, b:d] = texel(colour)
        # Glass is brighter towards its foot, and the recess throws a shadow from above.
        patch[a:c, b : b + (d - b) // 3] = texel(colour, light=1.3)
        patch[a:c, d - 1 : d] = texel(colour, light=0.5)
        if variant in (1, 3):
            cloth = texel(dice.pick(CURTAINS))
            side = max((c - a) // 4, 1)
            if variant == 1:
                patch[a : a + side, b:d] = cloth
                patch[c - side : c, b:d] = cloth
            else:
                patch[a:c, d - max((d - b) * dice.whole(2, 5) // 8, 1) : d] = cloth
        glass[a:c, b:d] = 1
        for i in range(1, mullions[0]):
            at = a + (c - a) * i // mullions[0]
            patch[at, b:d], glass[at, b:d] = light, 0
        for i in range(1, mullions[1]):
            at = b + (d - b) * i // mullions[1]
            patch[a:c, at], glass[a:c, at] = dark, 0
        if arch:
            inner = arched(c - a, d - b, max(rise - 1, 1))
            full = np.zeros((columns, rows), np.uint32)
            full[a:c, b:d] = inner
            patch = np.where((glass > 0) & (full == 0), np.uint32(texel(trim)), patch)
            glass = glass * full
        patch[:, 0] = texel(trim, light=1.05)
        patch = np.where(outer > 0, patch, np.uint32(CLEAR << 24))
        patches.append((patch & np.where(glass > 0, 0xFFFFFF, 0xFFFFFFFF)).astype(np.uint32))
        masks.append((glass * (outer > 0)).astype(np.uint32))
    return Window(width, height, tuple(patches), tuple(masks))


def shutters(canvas: Canvas, u: float, v: float, width: float, height: float, colour: Colour,
             dice: Dice) -> None:  # fmt: skip
    """A pair of louvred shutters beside a window, now and then one of them closed over it."""
    leaf = width * 0.48
    light, dark = texel(colour), texel(colour, light=0.75)
    places = [u - leaf, u + width] if not dice.chance(0.08) else [u, u + leaf]
    for left in places:
        canvas.rect(left, v, left + leaf, v + height, light)
        a, b = canvas.at(left), canvas.at(left + leaf)
        canvas.texels[max(a, 0) : b, canvas.at(v) : canvas.at(v + height) : 2] = dark


def railing(canvas: Canvas, u0: float, u1: float, v: float, colour: Colour) -> None:
    """The railing of a French balcony, in front of whatever is painted there."""
    a, b, low, high = canvas.at(u0), canvas.at(u1), canvas.at(v), canvas.at(v + 0.95)
    ink = pack(*colour)
    canvas.texels[max(a, 0) : b : 2, low:high] = ink
    canvas.texels[max(a, 0) : b, high - 1 : high + 1] = ink
    canvas.texels[max(a, 0) : b, low - 1 : low + 1] = texel((150, 146, 140))
