"""Score of the demo's drive: answers of ``edgevpr run`` against the true positions."""

import csv
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.places.table import ImageTable, to_utm

RADIUS_M = 25.0
#: A frame's view is in the map when a gallery image was taken this close, looking this way.
SEEN_M, SEEN_DEGREES = 6.0, 30.0


class DriveScore(msgspec.Struct, frozen=True):
    """Answers of a drive within 25 m of the truth, percent, and the frames they are a share of."""

    #: frames whose view the map holds: a gallery image within 6 m and 30 degrees of heading.
    seen: float
    seen_frames: int
    #: frames within 25 m of a mapped place, whatever way they look.
    near: float
    near_frames: int


class Truth(msgspec.Struct, frozen=True):
    """One frame's true position, its place (-1: none), and whether the map holds it."""

    at: NDArray[np.float64]
    place: int
    near: bool
    seen: bool


def read_truth(truth: Path, gallery: ImageTable) -> dict[int, Truth]:
    """Frames of the drive by number.

    Args:
        truth: CSV with frame, easting, northing, heading and place.
        gallery: the map's images.
    """
    frames = {}
    with truth.open() as stream:
        for row in csv.DictReader(stream):
            at = np.array([float(row["easting"]), float(row["northing"])])
            away = np.hypot(*(gallery.xy - at).T)
            turned = np.abs((gallery.heading - float(row["heading"]) + 180) % 360 - 180)
            frames[int(row["frame"])] = Truth(
                at=at,
                place=int(row["place"]),
                near=bool(away.min() <= RADIUS_M),
                seen=bool(((away <= SEEN_M) & (turned <= SEEN_DEGREES)).any()),
            )
    return frames


def read_answers(answers: Path) -> dict[int, dict[str, Any]]:
    """The JSON lines of ``edgevpr run`` by frame number."""
    return {a["frame"]: a for a in map(json.loads, answers.read_text().splitlines())}


def drive_score(answers: Path, truth: Path, gallery: ImageTable) -> DriveScore:
    """Share of the frames answered within 25 m, of those seen and of those near."""
    answered = read_answers(answers)
    counts = {"seen": [0, 0], "near": [0, 0]}
    for frame, position in read_truth(truth, gallery).items():
        if frame not in answered or not position.near:
            continue
        right = is_right(answered[frame], position)
        for kind in ("near", "seen") if position.seen else ("near",):
            counts[kind][0] += right
            counts[kind][1] += 1
    share = {kind: 100.0 * hits / n if n else 0.0 for kind, (hits, n) in counts.items()}
    return DriveScore(share["seen"], counts["seen"][1], share["near"], counts["near"][1])


def is_right(answer: dict[str, Any], position: Truth) -> bool:
    """Whether the answer lies within 25 m of where the frame was taken."""
    if answer.get("lat") is None:
        return False
    east, north, _, _ = to_utm([answer["lat"]], [answer["lon"]])
    return bool(np.hypot(east[0] - position.at[0], north[0] - position.at[1]) <= RADIUS_M)
