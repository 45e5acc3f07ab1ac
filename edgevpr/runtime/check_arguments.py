"""Arguments of a localizer: checks of camera images, and the forms of a GPS prior."""

from typing import Literal

import numpy as np

from edgevpr.errors import DataError, UsageError
from edgevpr.places.near import Near

Color = Literal["rgb", "bgr"]
#: What ``near`` takes: a Near, "lat,lon,radius", or (lat, lon, radius_m).
NearLike = Near | str | tuple[float, float, float]


def as_near(point: NearLike | None) -> Near | None:
    """The GPS prior in any of its forms.

    Raises:
        UsageError: not three numbers, or out of range.
    """
    if point is None or isinstance(point, Near):
        return point
    if isinstance(point, str):
        return Near.parse(point)
    try:
        lat, lon, radius_m = (float(number) for number in point)
    except (TypeError, ValueError):
        raise UsageError(
            f"found `near` {point!r}, expected (lat, lon, radius_m) in degrees and metres: pass "
            "`near` (48.137, 11.575, 200)"
        ) from None
    return Near(lat, lon, radius_m)


def check_image(frame: object, color: str) -> None:
    """Raise unless ``frame`` is an (H, W, 3) uint8 array and ``color`` an order of channels.

    Raises:
        DataError, UsageError: it is not.
    """
    if color not in ("rgb", "bgr"):
        raise UsageError(f"found `color` {color!r}, expected rgb or bgr: pass `color` rgb")
    if frame is None:
        found, then = "no frame (None)", "check that the image could be read"
    elif not isinstance(frame, np.ndarray):
        found, then = f"a frame of type {type(frame).__name__}", "convert it with numpy.asarray"
    elif frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 1):
        found = f"a grey frame of shape {frame.shape}"
        then = "convert it with cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)"
    elif frame.ndim != 3 or frame.shape[2] != 3:
        found, then = f"a frame of shape {frame.shape}", "pass one image with its three channels"
    elif frame.size == 0:
        found, then = f"an empty frame of shape {frame.shape}", "check the camera"
    elif frame.dtype != np.uint8:
        found, then = f"a frame of {frame.dtype}", "scale it to 0..255 and convert it to uint8"
    else:
        return
    raise DataError(f"found {found}, expected (H, W, 3) uint8: {then}")
