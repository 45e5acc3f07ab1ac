"""Camera pose, and the mapping of its pixels to an upright frame.

An upright frame (no pitch, no roll) has walls in columns, which is what makes them cheap to draw.
Pitch and roll are rotations about the camera's centre, so the tilted picture is an exact lookup
into an upright frame that is a little larger.
"""

from dataclasses import dataclass

import numpy as np

from edgevpr.city.exact_math import F32, F64, I64, sincos

#: Focal length over image width: a horizontal view of 78 degrees.
FOCAL = 0.62


@dataclass(frozen=True)
class Pose:
    """A camera in local coordinates: metres, and degrees (heading clockwise from the y axis)."""

    x: float
    y: float
    heading: float
    eye: float = 2.0
    pitch: float = 5.0  # upwards
    roll: float = 0.0


@dataclass(frozen=True)
class View:
    """A pose with its frame: slopes are tangents, right (k) and up (m), per unit forward."""

    pose: Pose
    fx: float
    fy: float
    rx: float
    ry: float
    samples: float  # a unit of slope
    k: F64  # (columns,) slope of each upright column
    m: F64  # (rows,) slope of each upright row, from the top down
    lookup: I64  # (ss * ss, H, W) index of each sample in the (columns, rows) upright frame
    out_k: F32  # (H, W) slopes of the output pixels
    out_m: F32

    @property
    def top(self) -> float:
        """Slope of the upper edge of the upright frame."""
        return float(self.m[0]) + 0.5 / self.samples


def view_of(pose: Pose, width: int, height: int, supersample: int) -> View:
    """The view of a pose for an output of ``width`` x ``height`` pixels."""
    focal = FOCAL * width
    out_k, out_m = _slopes(pose, width, height, focal, 1)
    fine_k, fine_m = _slopes(pose, width, height, focal, supersample)
    samples = focal * supersample
    left, top = float(fine_k.min()), float(fine_m.max())
    left, top = left - 0.5 / samples, top + 0.5 / samples
    column = ((fine_k - np.float32(left)) * np.float32(samples)).astype(np.int32)
    row = ((np.float32(top) - fine_m) * np.float32(samples)).astype(np.int32)
    columns, rows = int(column.max()) + 1, int(row.max()) + 1
    sine, cosine = sincos(pose.heading)
    return View(
        pose=pose,
        fx=sine,
        fy=cosine,
        rx=cosine,
        ry=-sine,
        samples=samples,
        k=left + (np.arange(columns, dtype=np.float64) + 0.5) / samples,
        m=top - (np.arange(rows, dtype=np.float64) + 0.5) / samples,
        lookup=_by_sample(column * np.int64(rows) + row, supersample),
        out_k=out_k,
        out_m=out_m,
    )


def _by_sample(index: I64, per: int) -> I64:
    """(H * per, W * per) -> (per * per, H, W): each output pixel's samples, one plane each."""
    height, width = index.shape[0] // per, index.shape[1] // per
    split = index.reshape(height, per, width, per).transpose(1, 3, 0, 2)
    return np.ascontiguousarray(split).reshape(per * per, height, width)


def _slopes(pose: Pose, width: int, height: int, focal: float, per: int) -> tuple[F32, F32]:
    """Right and up slopes in the upright frame of (height * per, width * per) samples."""
    step = 1.0 / (focal * per)
    x = ((np.arange(width * per) + 0.5 - width * per / 2) * step).astype(np.float32)[None, :]
    y = ((height * per / 2 - 0.5 - np.arange(height * per)) * step).astype(np.float32)[:, None]
    sine, cosine = (np.float32(v) for v in sincos(pose.roll))
    right, up = x * cosine - y * sine, x * sine + y * cosine
    sine, cosine = (np.float32(v) for v in sincos(pose.pitch))
    forward = cosine - up * sine
    return right / forward, (sine + up * cosine) / forward
