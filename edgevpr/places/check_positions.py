"""Check that images were taken on Earth, before their positions are answered as fixes."""

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import EdgeVPRError
from edgevpr.places.table import ImageTable
from edgevpr.places.wgs84 import on_earth


def check_positions(
    images: ImageTable,
    where: str,
    advice: str,
    error: type[EdgeVPRError],
    kept: NDArray[np.bool_] | None = None,
) -> None:
    """Raise ``error`` if an image has degrees that are out of range. NaN is unknown.

    Args:
        where: the artifact of the images, and what to do with it, for the message.
        kept: (N,) which images count; all without it.
    """
    wrong = ~on_earth(images.lat, images.lon) & ~(np.isnan(images.lat) | np.isnan(images.lon))
    if kept is not None:
        wrong &= kept
    if wrong.any():
        row = int(np.argmax(wrong))
        raise error(
            f"found latitude {images.lat[row]:g}, longitude {images.lon[row]:g} for "
            f"{images.paths[row]} in {where} ({wrong.sum()} of {len(wrong)} images are like it), "
            f"expected -90 to 90 and -180 to 180 degrees: {advice}"
        )
