"""Low walls: a hedge, railings on a plinth, a garden wall."""

from edgevpr.city.exact_math import noise_tile
from edgevpr.city.surfaces.atlas import EVERGREEN, ROOF, Atlas, pack_planes
from edgevpr.city.surfaces.canvas import Canvas, texel
from edgevpr.city.surfaces.materials import wall

PER_M = 12.0


def texture(atlas: Atlas, kind: int) -> int:
    """The texture of a fence 24 m long and 2.5 m high; shorter fences show a part of it."""
    canvas = Canvas(24.0, 2.5, PER_M)
    if kind == 0:
        leaf = noise_tile(256, 4, 51)[: canvas.width] if canvas.width <= 256 else None
        tile = noise_tile(512, 4, 51)[: canvas.width, : canvas.height] if leaf is None else (
            leaf[:, : canvas.height]
        )  # fmt: skip
        light = tile * 70 + 50
        canvas.texels[...] = pack_planes(light * 0.62, light, light * 0.45, EVERGREEN)
    else:
        colour = (150, 96, 76) if kind == 1 else (196, 186, 164)
        tile = wall("brick" if kind == 1 else "rubble", canvas.width, canvas.height, (3, 1))
        r, g, b = (tile * c for c in colour)
        canvas.texels[...] = pack_planes(r, g, b)
        canvas.texels[:: canvas.at(3.0), :] = texel(colour, ROOF, 0.7)
    return atlas.add(canvas.texels, PER_M)
