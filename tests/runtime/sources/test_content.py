"""Content of files: their bytes decide, not their names."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevpr.runtime.sources.content import content_of

PICTURE = np.full((12, 16, 3), 90, np.uint8)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_pictures(tmp_path: Path, ending: str) -> None:
    """Under any name, except for pictures one behind the other."""
    data = cv2.imencode(ending, PICTURE)[1].tobytes()
    for name in ("a.txt", "a", "a.MP4"):
        (tmp_path / name).write_bytes(data)
        assert content_of(tmp_path / name) == "image"


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"\x89MCAP0\r\n", "mcap"),
        (b"SQLite format 3\x00", "db3"),
        (b"\x28\xb5\x2f\xfd\x04", "zstd"),
        (b"Drive of Monday\ncamera front\n", "text"),
        (b"BMW of Monday, camera front", "text"),
        ("Straße\r\n\tfront".encode("latin-1"), "text"),
        ("Straße".encode("utf-16"), "text"),
        (b"\xef\xbb\xbfa,b\n", "text"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n", "other"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "other"),
        (b"YUV4MPEG2 W64 H48 F30:1\nFRAME\n", "other"),
        (b"\x00\x00\x00\x01\x67\x42", "other"),
        (b"\x00\x00\x00\x20ftypisom", "video"),
        (b"\x00\x00\x00\x20ftypheic", "image"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "video"),
        (b"", "other"),
    ],
)
def test_first_bytes(tmp_path: Path, data: bytes, content: str) -> None:
    (tmp_path / "a.bin").write_bytes(data)
    assert content_of(tmp_path / "a.bin") == content


def test_motion_jpeg_is_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.mjpeg").write_bytes(cv2.imencode(".jpg", PICTURE)[1].tobytes() * 3)
    assert content_of(tmp_path / "a.mjpeg") == "video"
