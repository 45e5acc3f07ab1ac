"""Decoders of ROS camera messages: sensor_msgs/Image and sensor_msgs/CompressedImage.

Encodings are those of ROS's image_encodings.hpp that OpenCV converts.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import DataError

#: encoding -> (bytes a channel, channels, name of the OpenCV conversion to BGR or "" for none).
_PIXELS = {
    "bgr8": (1, 3, ""),
    "8uc3": (1, 3, ""),
    "rgb8": (1, 3, "COLOR_RGB2BGR"),
    "bgra8": (1, 4, "COLOR_BGRA2BGR"),
    "8uc4": (1, 4, "COLOR_BGRA2BGR"),
    "rgba8": (1, 4, "COLOR_RGBA2BGR"),
    "mono8": (1, 1, "COLOR_GRAY2BGR"),
    "8uc1": (1, 1, "COLOR_GRAY2BGR"),
    "bgr16": (2, 3, ""),
    "rgb16": (2, 3, "COLOR_RGB2BGR"),
    "mono16": (2, 1, "COLOR_GRAY2BGR"),
    "16uc1": (2, 1, "COLOR_GRAY2BGR"),
    "bayer_rggb8": (1, 1, "COLOR_BayerRGGB2BGR"),
    "bayer_bggr8": (1, 1, "COLOR_BayerBGGR2BGR"),
    "bayer_gbrg8": (1, 1, "COLOR_BayerGBRG2BGR"),
    "bayer_grbg8": (1, 1, "COLOR_BayerGRBG2BGR"),
    "yuv422": (1, 2, "COLOR_YUV2BGR_UYVY"),
    "uyvy": (1, 2, "COLOR_YUV2BGR_UYVY"),
    "yuv422_yuy2": (1, 2, "COLOR_YUV2BGR_YUY2"),
    "yuyv": (1, 2, "COLOR_YUV2BGR_YUY2"),
}


def raw_image(message: Any) -> NDArray[np.uint8]:
    """sensor_msgs/Image -> (H, W, 3) uint8 BGR. Of 16 bits a channel the upper 8 are kept.

    Raises:
        DataError: an encoding that is no picture (depth, float) or unknown; fewer bytes than its
            size says.
    """
    import cv2

    encoding, height, width, step = message.encoding, message.height, message.width, message.step
    if encoding.lower() not in _PIXELS:
        raise DataError(
            f"found the encoding {encoding!r}, expected one of {', '.join(_PIXELS)}: choose the "
            "topic of a colour or grey camera"
        )
    size, channels, conversion = _PIXELS[encoding.lower()]
    row = width * channels * size
    data = np.frombuffer(message.data, np.uint8)
    if not row or step < row or len(data) < step * height or not height:
        raise DataError(
            f"found {len(data)} bytes in rows of {step} for an image of {width} x {height} in "
            f"{encoding}, expected rows of {row} or more: the message is damaged"
        )
    # Rows may be padded; each channel's byte order is the sender's.
    rows = data[: step * height].reshape(height, step)[:, :row]
    if size == 2:
        rows = rows[:, 0 if message.is_bigendian else 1 :: 2]
    image = np.ascontiguousarray(rows.reshape(height, width, channels))
    return np.asarray(cv2.cvtColor(image, getattr(cv2, conversion)) if conversion else image)


def compressed_image(message: Any) -> NDArray[np.uint8]:
    """sensor_msgs/CompressedImage (JPEG, PNG, WebP, ...) -> (H, W, 3) uint8 BGR.

    Raises:
        DataError: not an image OpenCV decodes (compressedDepth, video codecs, damage).
    """
    import cv2

    data = np.frombuffer(message.data, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise DataError(
            f"found {data.size} bytes of format {message.format!r} that do not decode, expected "
            "JPEG or PNG: choose the topic of a colour or grey camera"
        )
    return np.asarray(image, np.uint8)


#: message type -> its decoder.
DECODERS = {
    "sensor_msgs/msg/Image": raw_image,
    "sensor_msgs/msg/CompressedImage": compressed_image,
}
