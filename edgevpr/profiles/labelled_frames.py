"""Frames that a profile is measured on: of a folder or a video, with positions where known."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.data import read_images
from edgevpr.data.image_files import list_images
from edgevpr.errors import DataError
from edgevpr.places.positives import positives
from edgevpr.places.table import ImageTable
from edgevpr.runtime.sources.content import content_of


@dataclass(frozen=True)
class Frames:
    """Frames in order: paths of image files, or decoded (H, W, 3) uint8 RGB arrays of a video."""

    source: str
    frames: list[Path] | list[NDArray[np.uint8]]
    #: positions of the frames; None where they have none.
    table: ImageTable | None = None
    #: why ``table`` is None, in a sentence.
    unlabelled: str = ""

    def answers(self, gallery: ImageTable, radius_m: float) -> list[NDArray[np.int64]] | None:
        """For each frame the gallery rows that answer it; None without positions."""
        return None if self.table is None else positives(self.table, gallery, radius_m)


def read_frames(source: Path, *, limit: int) -> Frames:
    """A folder of images, or the first ``limit`` frames of a video file.

    Images that carry no places are measured without recall.

    Raises:
        DataError: nothing there, no images, or no video that OpenCV can open.
    """
    source = Path(source)
    if not source.is_dir():
        return Frames(str(source), list(_video(source, limit)), unlabelled="a video has no labels")
    names = list_images(source)
    try:
        table = read_images(source)
    except DataError as error:
        return Frames(str(source), [source / name for name in names], unlabelled=str(error))
    return Frames(str(source), [source / path for path in table.paths], table)


def timed_subset(count: int, limit: int) -> list[int]:
    """``limit`` positions spread evenly over ``count``; all of them where limit is 0 or larger."""
    if limit <= 0 or limit >= count:
        return list(range(count))
    return [int(i) for i in np.unique(np.linspace(0, count - 1, limit).round())]


def _video(path: Path, limit: int) -> Iterator[NDArray[np.uint8]]:
    import cv2

    if not path.is_file():
        raise DataError(
            f"found nothing at {path}, expected a folder of images or a video file: check the path"
        )
    # Absolute, as FFmpeg takes what stands before a colon for a protocol; it plays texts, too.
    text = content_of(path) == "text"
    capture: Any = cv2.VideoCapture("" if text else os.path.abspath(path))
    try:
        read = 0
        while read < max(limit, 1):
            done, frame = capture.read()
            if not done:
                break
            read += 1
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        capture.release()
    if not read:
        raise DataError(
            f"found {path}, which OpenCV cannot decode, expected a video: pass a folder of images "
            "or another file"
        )
