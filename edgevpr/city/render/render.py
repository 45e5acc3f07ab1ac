"""Renderer of one image: ``render(district, pose, conditions)``."""

import functools

import numpy as np

from edgevpr.city.exact_math import F32, U8
from edgevpr.city.layout.conditions import Conditions
from edgevpr.city.layout.pose import Pose, View, view_of
from edgevpr.city.render import light, raycast, sensor, sky, traffic
from edgevpr.city.surfaces import ground
from edgevpr.city.surfaces.atlas import SKY
from edgevpr.city.surfaces.district import District

SUPERSAMPLE = 2


@functools.lru_cache(maxsize=1)
def _grain() -> U8:
    return ground.grain()


def render(district: District, pose: Pose, conditions: Conditions, width: int = 160,
           height: int = 120) -> U8:  # fmt: skip
    """The image of a district from a pose.

    Args:
        district: the scene.
        pose: where the camera stands and looks.
        conditions: hour, season, weather, traffic, sensor.
        width, height: of the image, pixels.

    Returns:
        (height, width, 3) uint8 RGB, the same bits on every machine.
    """
    view = view_of(pose, width, height, SUPERSAMPLE)
    lit = light.light_of(conditions)
    frame = raycast.empty_frame(view)
    palette = ground.palette(lit.leaf, conditions.snow, conditions.wet)
    raycast.draw_ground(frame, view, district.ground, palette, _grain(), lit.sun_up)
    front = raycast.draw_walls(frame, view, district, (lit.sun_x, lit.sun_y))
    planes = traffic.cutouts_in_view(district, view, conditions, (lit.sun_x, lit.sun_y))
    raycast.draw_planes(frame, view, district.atlas, planes, front)
    return sensor.develop(_shade(frame, view, district, lit, conditions), conditions)


def _shade(frame: raycast.UprightFrame, view: View, district: District, lit: light.Light,
           conditions: Conditions) -> list[F32]:  # fmt: skip
    """Linear colour planes (H, W) of a drawn frame."""
    texels = frame.texels[view.lookup]
    depth = frame.depth[view.lookup]
    solid = _mean((texels != np.uint32(SKY << 24)).astype(np.float32))
    sun = _mean(frame.sun[view.lookup]) / np.maximum(solid, np.float32(0.25))
    near = np.minimum(np.minimum(depth[0], depth[1]), np.minimum(depth[2], depth[3]))
    pose = view.pose
    reach = np.minimum(near, np.float32(300))
    x = np.float32(pose.x) + reach * (np.float32(view.fx) + view.out_k * np.float32(view.rx))
    y = np.float32(pose.y) + reach * (np.float32(view.fy) + view.out_k * np.float32(view.ry))
    z = np.float32(pose.eye) + reach * view.out_m
    sun *= light.shadows(district, x, y, z, lit)
    lamps = light.lamp_light(district, view, x, y, z) if lit.lamps[0] > 0 else np.float32(0)
    hazy = reach * reach / (reach * reach + np.float32(conditions.haze_m * conditions.haze_m))
    open_sky = np.flatnonzero(solid < 1)
    heavens = sky.paint_sky(view, open_sky, district.horizon, conditions)
    through = 1 - solid.ravel()[open_sky]
    haze = sky.colours(conditions)[1]
    # Few samples have a code that matters: those are looked up one by one.
    code = (texels >> np.uint32(24)).ravel()
    special = np.flatnonzero(lit.special[code])
    kinds = code[special]
    planes = []
    for channel in range(3):
        value = (texels >> np.uint32(8 * channel)) & np.uint32(255)
        value *= value
        odd = value.ravel()[special].astype(np.float32)
        tinted = odd * lit.tint[kinds, channel] + lit.cover[kinds] * np.float32(65025)
        value.ravel()[special] = tinted.astype(np.uint32)
        albedo = (value[0] + value[1] + value[2] + value[3]).astype(np.float32)
        beam = sun * np.float32(lit.sun[channel]) + np.float32(lit.ambient[channel])
        beam += lamps * np.float32(lit.lamps[channel])
        seen = albedo * np.float32(1 / 260100) * beam
        if lit.shines:
            glow = np.zeros(texels.shape, np.float32)
            glow.ravel()[special] = lit.glow[kinds, channel] + odd * (
                lit.own[kinds] * np.float32(1 / 65025)
            )
            seen += _mean(glow)
        seen += (np.float32(haze[channel]) * solid - seen) * hazy
        seen.ravel()[open_sky] += heavens[channel] * through
        planes.append(seen)
    return planes


def _mean(samples: F32) -> F32:
    """(4, H, W) samples -> (H, W) means."""
    total: F32 = samples[0] + samples[1]
    total += samples[2]
    total += samples[3]
    total *= np.float32(0.25)
    return total
