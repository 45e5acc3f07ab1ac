"""Ray casting by image column: visible walls and their rows, then one gather of texels.

Walls stand on flat ground, so what a nearer wall hides of a farther one is everything below the
nearer one's top: a running minimum over the walls of a column, sorted by distance, resolves all
visibility before a single texel is read.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevpr.city.exact_math import F32, F64, I64, U8, U32
from edgevpr.city.layout.pose import View
from edgevpr.city.surfaces.atlas import CLEAR, LEVELS, SKY, Atlas
from edgevpr.city.surfaces.district import District
from edgevpr.city.surfaces.ground import PER_M

FAR_M = 190.0
NEAR_M = 0.3
LAYERS = 14


@dataclass
class UprightFrame:
    """An upright frame under construction, flat, column by column."""

    texels: U32
    depth: F32  # forward distance, metres
    sun: F32  # how squarely the surface meets the sun, 0..1


@dataclass(frozen=True)
class Planes:
    """Cut-outs as upright planes seen from both sides. Columns of length P."""

    ax: F64
    ay: F64
    ex: F64
    ey: F64
    length: F64
    z0: F64
    texture: I64
    sun: F64


@dataclass(frozen=True)
class Front:
    """The nearest wall of each column: its depth in metres and the row of its top."""

    depth: F64
    top: I64


@dataclass(frozen=True)
class _Hits:
    """Intersections of image columns with upright rectangles."""

    column: I64
    plane: I64
    depth: F64
    along: F64
    slant: F64  # cosine between ray and normal, times the ray's length

    def take(self, rows: I64) -> "_Hits":
        return _Hits(
            self.column[rows], self.plane[rows], self.depth[rows], self.along[rows],
            self.slant[rows],
        )  # fmt: skip


def empty_frame(view: View) -> UprightFrame:
    """A frame of sky."""
    size = len(view.k) * len(view.m)
    return UprightFrame(
        np.full(size, SKY << 24, np.uint32),
        np.full(size, np.float32(1e6), np.float32),
        np.zeros(size, np.float32),
    )


def draw_ground(
    frame: UprightFrame, view: View, ground: U8, palette: U32, grain: U8, sun: float
) -> None:
    """Draw the ground up to the horizon, before walls cover it."""
    pose, rows = view.pose, len(view.m)
    first = int(np.searchsorted(-view.m, pose.eye / FAR_M))
    depth = (pose.eye / -view.m[first:]).astype(np.float32)
    dx = (view.fx + view.k * view.rx).astype(np.float32)[:, None]
    dy = (view.fy + view.k * view.ry).astype(np.float32)[:, None]
    scaled = depth * np.float32(PER_M)
    u = (np.float32(pose.x * PER_M) + dx * scaled).astype(np.int32)
    v = (np.float32(pose.y * PER_M) + dy * scaled).astype(np.int32)
    # Single stones are finer than a pixel from afar: there the grain is read at larger steps.
    coarse = np.where(depth > 16, 3, np.where(depth > 8, 1, 0)).astype(np.int32)[None, :]
    shade = grain.ravel()[((u >> coarse) & 255) << 8 | ((v >> coarse) & 255)]
    np.clip(u, 0, ground.shape[0] - 1, out=u)
    np.clip(v, 0, ground.shape[1] - 1, out=v)
    kind = ground.ravel()[u.astype(np.int64) * ground.shape[1] + v]
    frame.texels.reshape(-1, rows)[:, first:] = palette[kind + shade]
    frame.depth.reshape(-1, rows)[:, first:] = depth
    frame.sun.reshape(-1, rows)[:, first:] = np.float32(sun)


def draw_walls(
    frame: UprightFrame, view: View, district: District, sun: tuple[float, float]
) -> Front:
    """All walls, each pixel read once. ``sun`` is the horizontal direction towards the sun."""
    walls = _in_view(view, district)
    front = Front(np.full(len(view.k), 1e6), np.full(len(view.k), len(view.m), np.int64))
    if not len(walls):
        return front
    pose, d, atlas = view.pose, district, district.atlas
    hits = _intersect(view, d.ax[walls], d.ay[walls], d.ex[walls], d.ey[walls], d.length[walls])
    # Sort by column, then distance: the hit's own number makes every key unique.
    keys = (hits.column << 40) | ((hits.depth * 256).astype(np.int64) << 20)
    hits = hits.take(np.sort(keys | np.arange(len(keys))) & ((1 << 20) - 1))
    hits = hits.take(
        np.flatnonzero(_may_be_visible(hits, d.height[walls], d.reach[walls], pose.eye))
    )
    painted = np.unique(hits.plane)
    numbers = np.zeros(len(walls), np.int64)
    numbers[painted] = d.textures(walls[painted])
    number, depth = numbers[hits.plane], hits.depth
    at = (hits.along * atlas.per_m[number]).astype(np.int64)
    at = np.minimum(at, atlas.columns[number, 0] - 1)
    profile = atlas.profile[number]
    line = atlas.skyline[np.where(profile >= 0, profile + at, 0)].astype(np.float64)
    high = np.where(profile >= 0, line, d.height[walls][hits.plane])
    columns, rows = len(view.k), len(view.m)
    layer = _layers(hits.column)
    if len(layer) and layer.max() >= LAYERS:
        hits, keep = hits.take(np.flatnonzero(layer < LAYERS)), layer < LAYERS
        layer, high, depth, number = layer[keep], high[keep], depth[keep], number[keep]
    upper = np.ceil((view.top - (high - pose.eye) / depth) * view.samples - 0.5)
    lower = np.ceil((view.top + pose.eye / depth) * view.samples - 0.5)
    start = np.full((columns, LAYERS), rows, np.int64)
    start[hits.column, layer] = np.clip(upper, 0, rows).astype(np.int64)
    nearest = layer == 0
    front.depth[hits.column[nearest]] = depth[nearest]
    front.top[hits.column[nearest]] = start[hits.column[nearest], 0]
    hidden = np.minimum.accumulate(start, axis=1)
    before = np.where(layer > 0, hidden[hits.column, np.maximum(layer - 1, 0)], rows)
    first = start[hits.column, layer]
    count = np.minimum(np.clip(lower, 0, rows).astype(np.int64), before) - first
    seen = np.flatnonzero(count > 0)
    first, count, number, hits = first[seen], count[seen], number[seen], hits.take(seen)
    facing = d.nx[walls] * sun[0] + d.ny[walls] * sun[1]
    spans = _Spans(
        hits.column, first, count, hits.depth, hits.along, hits.slant, number,
        np.zeros(len(first)), np.maximum(facing, 0.0)[hits.plane],
    )  # fmt: skip
    pixel, texel, depth32, sun32 = spans.expand(view, atlas)
    frame.texels[pixel] = atlas.texels[texel]
    frame.depth[pixel] = depth32
    frame.sun[pixel] = sun32
    return front


def draw_planes(
    frame: UprightFrame, view: View, atlas: Atlas, planes: Planes, front: Front
) -> None:
    """Cut-outs over what is there, far ones first; CLEAR texels and hidden ones are left out."""
    if not len(planes.ax):
        return
    pose, rows = view.pose, len(view.m)
    hits = _intersect(view, planes.ax, planes.ay, planes.ex, planes.ey, planes.length)
    if not len(hits.column):
        return
    keys = ((1 << 20) - (hits.depth * 256).astype(np.int64)) << 24 | np.arange(len(hits.depth))
    order = np.sort(keys) & ((1 << 24) - 1)
    plane, depth = hits.plane[order], hits.depth[order]
    number, z0 = planes.texture[plane], planes.z0[plane]
    high = z0 + atlas.rows[number, 0] / atlas.per_m[number]
    upper = np.ceil((view.top - (high - pose.eye) / depth) * view.samples - 0.5)
    lower = np.ceil((view.top - (z0 - pose.eye) / depth) * view.samples - 0.5)
    first = np.clip(upper, 0, rows).astype(np.int64)
    count = np.clip(lower, 0, rows).astype(np.int64) - first
    column = hits.column[order]
    seen = (count > 0) & ((depth < front.depth[column]) | (first < front.top[column]))
    order, first, count = order[seen], first[seen], count[seen]
    plane, number, z0 = plane[seen], number[seen], z0[seen]
    spans = _Spans(
        hits.column[order], first, count, hits.depth[order], hits.along[order],
        hits.slant[order], number, z0, planes.sun[plane],
    )  # fmt: skip
    pixel, texel, depth32, sun32 = spans.expand(view, atlas)
    value = atlas.texels[texel]
    shown = (value < np.uint32(CLEAR << 24)) & (depth32 < frame.depth[pixel])
    # Spans come far to near and a repeated index keeps its last value: the nearest one.
    pixel = pixel[shown]
    frame.texels[pixel] = value[shown]
    frame.depth[pixel] = depth32[shown]
    frame.sun[pixel] = sun32[shown]


@dataclass(frozen=True)
class _Spans:
    """Vertical runs of pixels, each from one rectangle. Columns of length S."""

    column: I64
    first: I64
    count: I64
    depth: F64
    along: F64
    slant: F64
    number: I64
    z0: F64
    sun: F64

    def expand(self, view: View, atlas: Atlas) -> tuple[I64, I64, F32, F32]:
        """For each pixel: its index, its texel's index, its depth and its sun."""
        per = atlas.per_m[self.number]
        # Texels a sample, the geometric mean of up and along, chooses the level of detail.
        spread = per * self.depth / view.samples
        area = spread * spread / np.maximum(np.abs(self.slant), 0.05)
        level = np.minimum((area > 2.2).astype(np.int64) + (area > 9) + (area > 36), LEVELS - 1)
        fine = per / (1 << level)
        height = atlas.rows[self.number, level]
        u = np.clip((self.along * fine).astype(np.int64), 0, atlas.columns[self.number, level] - 1)
        base = atlas.base[self.number, level] + u * height
        # v = floor((z - z0) * fine), with z falling by depth / samples a row.
        high = (view.pose.eye - self.z0 + (view.top - 0.5 / view.samples) * self.depth) * fine
        drop = self.depth / view.samples * fine
        count = self.count
        start = np.cumsum(count) - count
        row = np.arange(int(count.sum()), dtype=np.int64) - np.repeat(start - self.first, count)
        v = np.repeat(high.astype(np.float32), count)
        v -= row.astype(np.float32) * np.repeat(drop.astype(np.float32), count)
        up = np.clip(v.astype(np.int64), 0, np.repeat(height - 1, count))
        texel = np.repeat(base, count) + up
        pixel = np.repeat(self.column * len(view.m), count) + row
        depth = np.repeat(self.depth.astype(np.float32), count)
        sun = np.repeat(self.sun.astype(np.float32), count)
        return pixel, texel, depth, sun


def _layers(column: I64) -> I64:
    """Number of hits of the same column before each, in sorted order."""
    layer: I64 = np.arange(len(column)) - np.searchsorted(column, column)
    return layer


def _may_be_visible(hits: _Hits, low: F64, high: F64, eye: float) -> NDArray[np.bool_]:
    """False where a hit is hidden for certain: its highest is under a nearer wall's lowest.

    Args:
        hits: sorted by column and distance.
        low, high: for each wall, heights it certainly fills and certainly does not exceed.
        eye: height of the camera.
    """
    layer = _layers(hits.column)
    reach = (high[hits.plane] - eye) / hits.depth
    filled = (low[hits.plane] - eye) / hits.depth
    highest = np.full((int(hits.column[-1]) + 1 if len(layer) else 1, 32), -1e9)
    deep = layer < 32
    highest[hits.column[deep], layer[deep]] = filled[deep]
    highest = np.maximum.accumulate(highest, axis=1)
    before = highest[hits.column, np.clip(layer - 1, 0, 31)]
    seen: NDArray[np.bool_] = (layer == 0) | (reach > before)
    return seen


def _in_view(view: View, district: District) -> I64:
    """Walls that face the camera and reach into its horizontal view."""
    pose, d = view.pose, district
    near = d.near(pose.x, pose.y, FAR_M)
    ax, ay = d.ax[near] - pose.x, d.ay[near] - pose.y
    bx, by = d.bx[near] - pose.x, d.by[near] - pose.y
    shown = ax * d.nx[near] + ay * d.ny[near] < -0.02
    near, ax, ay, bx, by = near[shown], ax[shown], ay[shown], bx[shown], by[shown]
    at, bt = ax * view.fx + ay * view.fy, bx * view.fx + by * view.fy
    al, bl = ax * view.rx + ay * view.ry, bx * view.rx + by * view.ry
    low, high = float(view.k[0]), float(view.k[-1])
    inside = np.maximum(at, bt) > NEAR_M
    inside &= np.minimum(at, bt) < FAR_M
    inside &= (al > low * at) | (bl > low * bt)
    inside &= (al < high * at) | (bl < high * bt)
    walls: I64 = near[inside]
    return walls


def _intersect(view: View, ax: F64, ay: F64, ex: F64, ey: F64, length: F64) -> _Hits:
    """All intersections of image columns with upright rectangles, rectangle by rectangle."""
    pose = view.pose
    dx, dy = ax - pose.x, ay - pose.y
    # Both ends in camera terms: t forward, l to the right; the part behind the camera is cut off.
    t0, l0 = dx * view.fx + dy * view.fy, dx * view.rx + dy * view.ry
    et, el = ex * view.fx + ey * view.fy, ex * view.rx + ey * view.ry
    t1, l1 = t0 + et * length, l0 + el * length
    steep = np.where(np.abs(t1 - t0) < 1e-9, 1.0, t1 - t0)
    cut0, cut1 = np.maximum((NEAR_M - t0) / steep, 0), np.maximum((NEAR_M - t1) / -steep, 0)
    shown = np.maximum(t0, t1) > NEAR_M
    cut0, cut1 = np.where(t0 < NEAR_M, cut0, 0.0), np.where(t1 < NEAR_M, cut1, 0.0)
    k0 = (l0 + (l1 - l0) * cut0) / np.maximum(t0 + (t1 - t0) * cut0, NEAR_M)
    k1 = (l1 + (l0 - l1) * cut1) / np.maximum(t1 + (t0 - t1) * cut1, NEAR_M)
    left = float(view.k[0])
    # A small overlap keeps sky from showing between neighbouring walls.
    low = np.ceil((np.minimum(k0, k1) - left) * view.samples - 1e-3)
    high = np.floor((np.maximum(k0, k1) - left) * view.samples + 1e-3)
    columns = len(view.k)
    first = np.clip(low, 0, columns).astype(np.int64)
    count = np.clip(high + 1, 0, columns).astype(np.int64) - first
    count = np.where(shown, np.maximum(count, 0), 0)
    plane = np.repeat(np.arange(len(ax)), count)
    start = np.cumsum(count) - count
    column = np.arange(len(plane), dtype=np.int64) - np.repeat(start - first, count)
    k = view.k[column]
    # The ray (1, k) meets l0 t - t0 l = 0 turned into the rectangle's normal (et, el) frame.
    slant = (k * et[plane]) - el[plane]
    usable = np.abs(slant) > 1e-6
    slant = np.where(usable, slant, 1.0)
    depth = (l0 * et - t0 * el)[plane] / slant
    along = (l0[plane] - k * t0[plane]) / slant
    usable &= (depth > NEAR_M) & (depth < FAR_M)
    return _Hits(
        column[usable], plane[usable], depth[usable], np.clip(along[usable], 0.0, None),
        slant[usable],
    )  # fmt: skip
