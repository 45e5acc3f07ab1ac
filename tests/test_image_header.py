"""Sizes of images, from their headers alone."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevpr.data.image_files import why_unreadable
from edgevpr.errors import DataError
from edgevpr.image_header import image_format, image_size
from edgevpr.preprocess import read_image


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("shape", [(48, 64, 3), (1, 7, 3), (300, 20, 3)])
def test_sizes_are_those_of_the_decoder(suffix: str, shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    data = bytes(cv2.imencode(suffix, image)[1])
    assert image_format(data) == suffix
    assert image_size(data) == (shape[1], shape[0])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
def test_a_cut_header_has_no_size_and_no_exception(suffix: str) -> None:
    data = bytes(cv2.imencode(suffix, np.zeros((48, 64, 3), np.uint8))[1])
    for end in range(200):
        image_size(data[:end])
    assert image_format(b"text") is None
    assert image_size(b"") is None


def test_webp_of_every_kind() -> None:
    """Lossless ones too."""
    image = np.zeros((48, 64, 3), np.uint8)
    data = bytes(cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1])
    assert image_size(data) == (64, 48)


def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    """Catches 4 GB of memory for a PNG of a few MB; here it has a header and nothing else."""
    header = b"IHDR" + struct.pack(">LLBBBBB", 40_000, 30_000, 8, 2, 0, 0, 0)
    file = tmp_path / "pano.png"
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">L", 13)
        + header
        + struct.pack(">L", zlib.crc32(header))
    )
    with pytest.raises(DataError, match=r"found 40000 x 30000 pixels in .*pano\.png, expected 268"):
        read_image(file)
    assert why_unreadable(file).startswith("40000 x 30000 pixels")


def test_bytes_between_the_segments_hide_no_size() -> None:
    """Catches a panorama of too many pixels that is decoded because of them."""
    data = bytes(cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1])
    at = data.index(b"\xff\xdb")
    assert image_size(data[:at] + b"\0\0\0" + data[at:]) == (64, 48)
