"""The city on the disk: layout, names, the same bytes, nothing half-written."""

import contextlib
import csv
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from edgevpr.artifacts.manifest import sha256_file
from edgevpr.city.dataset import CitySize, write_city
from edgevpr.city.thumbnail import thumbnail_descriptors, thumbnail_recall
from edgevpr.data.gsv import read_gsv_cities
from edgevpr.data.split import read_split
from edgevpr.errors import UsageError
from edgevpr.places.positives import positives_within

T = TypeVar("T")

TINY = CitySize(
    train_cities=2, train_places=3, train_views=2, val_places=2, test_places=10, drive_frames=28
)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "city"
    write_city(out, size=TINY, workers=1)
    return out


def _bytes(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): sha256_file(p) for p in root.rglob("*") if p.is_file()}


def test_the_same_seed_gives_the_same_files_with_any_number_of_workers(
    city: Path, tmp_path: Path
) -> None:
    write_city(tmp_path / "again", size=TINY, workers=2)
    assert _bytes(tmp_path / "again") == _bytes(city)


def test_another_seed_gives_another_city(city: Path, tmp_path: Path) -> None:
    size = CitySize(train_cities=1, train_places=1, train_views=1, val_places=1, test_places=1,
                    drive_frames=1)  # fmt: skip
    write_city(tmp_path / "other", seed=1, size=size, workers=1)
    other = set(_bytes(tmp_path / "other").values())
    assert not other & set(_bytes(city).values())


def test_training_places_have_the_gsv_cities_layout(city: Path) -> None:
    """Names and columns are those that GSV-Cities' own loader reads."""
    root = city / "gsv-cities"
    for table in sorted((root / "Dataframes").glob("*.csv")):
        rows = list(csv.DictReader(table.open()))
        assert list(rows[0]) == [
            "place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid",
        ]  # fmt: skip
        assert len(rows) == TINY.train_places * TINY.train_views
        for row in rows:  # as its get_img_name builds them from numbers
            name = "_".join((
                row["city_id"], row["place_id"].zfill(7), row["year"].zfill(4),
                row["month"].zfill(2), row["northdeg"].zfill(3), str(float(row["lat"])),
                str(float(row["lon"])), row["panoid"] + ".JPG",
            ))  # fmt: skip
            assert (root / "Images" / table.stem / name).is_file()
    assert len(read_gsv_cities(root)) == 2 * TINY.train_places * TINY.train_views


@pytest.mark.parametrize(("split", "places"), [("val", 2), ("test", 10)])
def test_queries_have_exactly_their_own_place(city: Path, split: str, places: int) -> None:
    """Coordinates in names are those of the camera."""
    gallery, queries = read_split(city / "images" / split)
    assert (len(gallery), len(queries)) == (4 * places, 2 * places)
    for row, found in enumerate(positives_within(queries, gallery, 25.0)):
        assert set(gallery.place[found]) == {queries.place[row]}
        assert len(found) == 4


def test_tuning_images_are_another_pass_through_the_test_map(city: Path) -> None:
    """Tuning queries show the test places, and are no test queries."""
    gallery, tuning = read_split(city / "images" / "test", "tuning")
    queries = read_split(city / "images" / "test")[1]
    assert set(tuning.place) == set(gallery.place)
    assert len(tuning) == TINY.test_places
    digests = {sha256_file(city / "images" / "test" / p) for p in queries.paths}
    assert not digests & {sha256_file(city / "images" / "test" / p) for p in tuning.paths}


def test_the_drive_has_a_row_a_frame(city: Path) -> None:
    """Every frame is in the video, and a row's place is near it."""
    import cv2

    rows = list(csv.DictReader((city / "drive" / "drive.csv").open()))
    video = cv2.VideoCapture(str(city / "drive" / "drive.mp4"))
    count = 0
    while True:
        ok, frame = video.read()
        if not ok:
            break
        assert frame.shape == (120, 160, 3)
        count += 1
    assert count == len(rows) == TINY.drive_frames
    assert [int(r["frame"]) for r in rows] == list(range(count))
    gallery, _ = read_split(city / "images" / "test")
    for row in rows:
        if int(row["place"]) >= 0:
            near = gallery.xy[gallery.place == int(row["place"])]
            here = np.array([float(row["easting"]), float(row["northing"])])
            assert np.linalg.norm(near - here, axis=1).min() < 30


def test_the_summary_says_what_was_drawn(city: Path) -> None:
    summary = json.loads((city / "city.json").read_text())
    assert summary["images"] == {"train": 12, "val": 12, "test": 70}
    names = list((city / "images").rglob("*.jpg")) + list((city / "gsv-cities").rglob("*.JPG"))
    assert len(names) == sum(summary["images"].values())
    assert summary["size"]["width"] == 160
    pattern = re.compile(r"[A-Z][a-z]+_\d{7}_\d{4}_\d\d_\d{3}_\d+\.\d+_\d+\.\d+_[0-9a-f]{22}\.JPG")
    assert all(pattern.fullmatch(p.name) for p in names if p.suffix == ".JPG")


def test_an_interrupt_leaves_nothing_behind(city: Path, tmp_path: Path) -> None:
    """After Ctrl-C there is the old city, or none."""

    def interrupted(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        for number, item in enumerate(items):
            if number == 2:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        write_city(tmp_path / "new", size=TINY, workers=2, track=interrupted)
    assert list(tmp_path.iterdir()) == []
    before = _bytes(city)
    with pytest.raises(KeyboardInterrupt):
        write_city(city, seed=5, size=TINY, workers=1, track=interrupted)
    assert _bytes(city) == before
    assert [p.name for p in city.parent.iterdir()] == ["city"]


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """They waited for its next task for ever."""
    words = ["-o", str(tmp_path / "city"), "--workers", "2", "--train-places", "500"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgevpr", "city", *words],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr
    until = time.monotonic() + 60
    while not [group for group in _groups() if group == process.pid][2:]:  # both workers
        assert time.monotonic() < until
        time.sleep(0.05)
    process.kill()
    process.communicate()
    while process.pid in _groups():
        assert time.monotonic() < until
        time.sleep(0.05)


def _groups() -> list[int]:
    """The process group of every process that runs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            found += [int(group)] * (state != "Z")
    return found


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="expected nothing or an earlier city"):
        write_city(tmp_path, size=TINY, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_thumbnails_do_not_solve_it(tmp_path: Path) -> None:
    """The baseline fails on most queries. Measured: 21.7 % at this size."""
    size = CitySize(train_cities=1, train_places=1, train_views=1, val_places=1, test_places=60,
                    drive_frames=1)  # fmt: skip
    write_city(tmp_path / "city", size=size, workers=2)
    score = thumbnail_recall(tmp_path / "city" / "images" / "test")
    assert score.without_positives == 0
    assert score.at[1] < 40
    # It is better than chance: the pictures do show their places.
    assert score.at[1] > 100 / 60


def test_thumbnails_are_unit_vectors(city: Path) -> None:
    paths = sorted((city / "images" / "val" / "database").iterdir())
    rows = thumbnail_descriptors(paths)
    assert rows.shape == (8, 1024)
    assert rows.dtype == np.float32
    assert np.allclose((rows * rows).sum(axis=1), 1, atol=1e-5)
    assert np.allclose(rows.mean(axis=1), 0, atol=1e-6)
