"""Small image folders."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

JPEG = bytes(cv2.imencode(".jpg", np.full((8, 8, 3), 90, np.uint8))[1])


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., Path]:
    """Write small JPEG files below a folder of their own; returns it."""

    def write(*names: str) -> Path:
        for name in names:
            file = tmp_path / "images" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(JPEG)
        return tmp_path / "images"

    return write
