"""Frames of a profile: videos under odd names, and texts that are none."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevpr.errors import DataError
from edgevpr.profiles.labelled_frames import read_frames


def test_a_colon_in_a_video_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg takes what stands before it for a protocol."""
    writer = cv2.VideoWriter(str(tmp_path / "a.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for i in range(5):
        writer.write(np.full((48, 64, 3), 40 * i, np.uint8))
    writer.release()
    (tmp_path / "a.mp4").rename(tmp_path / "12:00.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read_frames(Path("12:00.mp4"), limit=3).frames) == 3


def test_a_text_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Drive of Monday\n" * 50)
    with pytest.raises(DataError, match="cannot decode"):
        read_frames(tmp_path / "notes.txt", limit=3)
