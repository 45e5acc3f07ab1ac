"""Drawing of one task, in a worker process: the images of a few places, or a stretch of a drive."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevpr.city import naming
from edgevpr.city.exact_math import U8
from edgevpr.city.layout import drive
from edgevpr.city.layout.views import CityPlace, visit
from edgevpr.city.render.render import render
from edgevpr.city.size import CitySize
from edgevpr.city.surfaces.district import District
from edgevpr.errors import ResourceError


@dataclass(frozen=True)
class Task:
    """Places of one district to draw in one go; picklable, for a worker process."""

    out: str
    seed: int
    district: str
    across: int
    up: int
    split: str  # train, val, test or drive
    places: tuple[CityPlace, ...]
    size: CitySize
    frames: tuple[int, int] = (0, 0)


Rows = list[tuple[str, ...]]


@functools.lru_cache(maxsize=1)
def district_of(seed: int, name: str, across: int, up: int) -> District:
    return District(seed, name, across, up)


def draw(task: Task) -> tuple[Rows, list[U8]]:
    """Draw a task's images to disk; returns CSV rows, and the frames of a drive."""
    district = district_of(task.seed, task.district, task.across, task.up)
    if task.split == "drive":
        return _draw_drive(task, district)
    size, out, rows = task.size, Path(task.out), []
    for place in task.places:
        if task.split == "train":
            folder = out / "gsv-cities" / "Images" / task.district
            for index in range(size.train_views):
                pose, weather = visit(task.seed, task.district, place, "train", index)
                name, row = naming.gsv_row(
                    task.district, district.anchor, place, index, pose, weather
                )
                _save(folder / name, render(district, pose, weather, size.width, size.height), size)
                rows.append(row)
            continue
        counts = {"database": size.database_views, "queries": size.query_views}
        if task.split == "test":
            counts["tuning"] = size.tuning_views
        for kind, count in counts.items():
            folder = out / "images" / task.split / kind
            for index in range(count):
                pose, weather = visit(task.seed, task.district, place, kind, index)
                name = naming.utm_name(district.anchor, place, pose, weather)
                _save(folder / name, render(district, pose, weather, size.width, size.height), size)
    return rows, []


DRIVE_COLUMNS = (
    "frame", "time_s", "easting", "northing", "zone", "letter", "lat", "lon", "heading", "place",
)  # fmt: skip


def _draw_drive(task: Task, district: District) -> tuple[Rows, list[U8]]:
    size, anchor = task.size, district.anchor
    way = drive.frames(district.plan, task.seed, task.district, size.drive_frames)
    rows: Rows = []
    images = []
    for number in range(*task.frames):
        pose, weather = way[number]
        images.append(render(district, pose, weather, size.width, size.height))
        s = naming.shot(anchor, pose, weather)
        gaps = [(p.x - pose.x) ** 2 + (p.y - pose.y) ** 2 for p in task.places]
        nearest = int(np.argmin(gaps))
        place = task.places[nearest].number if gaps[nearest] <= 25.0**2 else -1
        rows.append((
            str(number), f"{weather.time_s:.1f}", f"{s.easting:.2f}", f"{s.northing:.2f}",
            str(anchor.zone), anchor.letter, f"{s.lat:.7f}", f"{s.lon:.7f}", f"{s.bearing:.1f}",
            str(place),
        ))  # fmt: skip
    return rows, images


def _save(path: Path, image: U8, size: CitySize) -> None:
    import cv2

    flags = [cv2.IMWRITE_JPEG_QUALITY, size.quality]
    ok, data = cv2.imencode(".jpg", image[..., ::-1], flags)
    if not ok:
        raise ResourceError(
            f"found no way to write {path} as JPEG, expected an OpenCV that encodes it: install "
            "opencv-python-headless from the package index"
        )
    path.write_bytes(data.tobytes())
