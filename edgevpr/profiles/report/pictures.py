"""Pictures inside a page: small JPEGs as data URIs, so the page is one file."""

import base64
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["", "hit", "miss", "query"]


@dataclass(frozen=True)
class Picture:
    """One image with its caption; ``verdict`` marks an answer as right or wrong."""

    data: str
    width: int
    height: int
    caption: str
    verdict: Verdict = ""


def picture(
    image: NDArray[np.uint8],
    caption: str,
    *,
    verdict: Verdict = "",
    width: int = 160,
    quality: int = 82,
) -> Picture:
    """(H, W, 3) uint8 RGB -> a picture at most ``width`` pixels wide, aspect ratio kept."""
    import cv2

    height = max(round(image.shape[0] * width / image.shape[1]), 1)
    if width < image.shape[1]:
        image = np.asarray(
            cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
    height, width = image.shape[:2]
    done, encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ValueError(f"an image of shape {image.shape} could not be encoded as JPEG")
    text = base64.b64encode(encoded.tobytes()).decode()
    return Picture(f"data:image/jpeg;base64,{text}", width, height, caption, verdict)
