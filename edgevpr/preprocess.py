"""Preprocessing from an image of any size to the network's input: one spec for every stage.

Training, evaluation and the CPU path run this code. A compiled graph takes the resized uint8
image and normalizes inside, so ``resize`` is all that a running robot executes of it.
"""

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError
from edgevpr.image_header import MAX_PIXELS, SCAN, image_size, jpeg_segments

#: Bytes from the start in which the size is looked for; JPEGs carry previews before it.
_HEADER = 1 << 22
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size in pixels, resize filter, and normalization of RGB values in [0, 1]."""

    height: int
    width: int
    interpolation: Literal["area", "linear", "cubic"] = "area"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or min(self.std) <= 0:
            raise ValueError(
                f"found size {self.height}x{self.width} and deviations {self.std}, expected all "
                "above 0"
            )

    def resize(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 of any size -> (height, width, 3) uint8, aspect ratio not kept."""
        import cv2

        if image.shape[:2] == (self.height, self.width):
            return np.ascontiguousarray(image)
        flag = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
        resized = cv2.resize(
            image, (self.width, self.height), interpolation=flag[self.interpolation]
        )
        return np.asarray(resized, dtype=np.uint8)

    def normalize(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32, zero mean and unit deviation."""
        mean = np.asarray(self.mean, np.float32) * 255
        std = np.asarray(self.std, np.float32) * 255
        return np.ascontiguousarray(((images - mean) / std).transpose(0, 3, 1, 2))


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 RGB, as ``decode_image`` does.

    Raises:
        DataError: the file is missing, empty, truncated, not an image OpenCV can decode, or one of
            more than ``MAX_PIXELS``, which is refused before it is decoded.
    """
    import cv2

    try:
        data = np.fromfile(path, dtype=np.uint8)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        found = "a folder" if Path(path).is_dir() else "nothing"
        raise DataError(
            f"found {found} at {path}, expected a JPEG or PNG file: check the path"
        ) from None
    except OSError as error:
        raise DataError(
            f"found {path} unreadable ({error.strerror}), expected a JPEG or PNG file: correct its "
            "permissions, or remove it"
        ) from None
    if size := _too_large(data[:_HEADER].tobytes()):
        raise DataError(
            f"found {size[0]} x {size[1]} pixels in {path}, expected {MAX_PIXELS:,} or fewer: make "
            "the image smaller, or remove it"
        )
    image = decode_image(data)
    if image is None:
        raise DataError(
            f"found no readable image in {path} ({data.size} bytes), expected a complete JPEG or "
            "PNG: replace or remove the file and run the command again"
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def decode_image(data: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The bytes of an image file as (H, W, 3) uint8 BGR, EXIF orientation applied, or None.

    Grey images are repeated over the channels, 16-bit ones keep their high byte, transparency is
    dropped. A file is unreadable when it does not decode, when its header says more than
    ``MAX_PIXELS``, and when it is a JPEG that stops before its end-of-image marker: some decoders
    fill the missing part with grey without an error. Damage inside a complete JPEG is not detected.
    """
    import cv2

    content = data.tobytes()
    if not content or _too_large(content):
        return None
    try:
        image = None if _is_cut_jpeg(content) else cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # a header that asks for more pixels than OpenCV will allocate
        return None
    return None if image is None else np.asarray(image, dtype=np.uint8)


def _too_large(data: bytes) -> tuple[int, int] | None:
    """(width, height) of an image of more than ``MAX_PIXELS``; None for any other."""
    size = image_size(data)
    return size if size is not None and size[0] * size[1] > MAX_PIXELS else None


def _is_cut_jpeg(data: bytes) -> bool:
    """Whether ``data`` starts like a JPEG and has no end-of-image marker after its first scan.

    The segments before the scan are stepped over, because a thumbnail among them has a marker of
    its own; inside a scan a byte FF is never followed by D9 (ITU-T T.81, B.1.1).
    """
    if not data.startswith(b"\xff\xd8"):
        return False
    scan = next((at for marker, at in jpeg_segments(data) if marker == SCAN), -1)
    return scan < 0 or data.find(b"\xff\xd9", scan) < 0
