"""Writer of a city: training, validation and test sets, and a drive."""

import csv
import ctypes
import functools
import io
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgevpr import __version__
from edgevpr.artifacts.manifest import write_json
from edgevpr.city import naming
from edgevpr.city.exact_math import U8
from edgevpr.city.layout import drive
from edgevpr.city.layout.views import choose_places
from edgevpr.city.size import TRAIN_CITIES, CitySize
from edgevpr.city.worker import DRIVE_COLUMNS, Rows, Task, draw
from edgevpr.errors import ResourceError, UsageError
from edgevpr.files import replacing
from edgevpr.progress import Track, silent

__all__ = ["CitySize", "write_city"]

MARK = "city.json"
FORMAT = 1


def write_city(out: Path, *, seed: int = 0, size: CitySize | None = None, workers: int = 2,
               track: Track = silent) -> dict[str, Any]:  # fmt: skip
    """Draw a city and write it as ordinary data sets.

    The same seed and size give the same files, whatever the number of workers. The folder appears
    at ``out`` when it is complete; a city that was there before is replaced.

    Args:
        out: folder to write; it must not exist, be empty, or hold an earlier city.
        seed: of everything.
        size: how much to draw; ``CitySize()`` by default.
        workers: processes; 1 draws in this one.
        track: progress.

    Returns:
        The summary that is also written to ``city.json``.

    Raises:
        UsageError: something else is at ``out``; nothing of it is touched.
    """
    size = size or CitySize()
    if workers < 1:
        raise UsageError(f"found `workers` {workers}, expected 1 or more: pass `workers` 2")
    target = Path(os.path.abspath(out))
    target = target.resolve() if target.is_symlink() else target
    with replacing(target, functools.partial(_refuse_strangers, target)) as folder:
        return _fill(folder, seed, size, workers, track)


def _refuse_strangers(path: Path) -> None:
    if not path.exists() or (path / MARK).is_file():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    raise UsageError(
        f"found something else at {path}, expected nothing or an earlier city: pass another "
        "`out` (nothing was changed)"
    )


def _fill(folder: Path, seed: int, size: CitySize, workers: int, track: Track) -> dict[str, Any]:
    tasks, districts = _plan(folder, seed, size)
    done: dict[int, tuple[Rows, list[U8]]] = {}
    with _pool(tasks, workers) as results:
        for number, rows, frames in track(results, "drawing the city", len(tasks)):
            done[number] = rows, frames
    images = {"train": 0, "val": 0, "test": 0}
    (folder / "gsv-cities" / "Dataframes").mkdir(parents=True)
    for name in TRAIN_CITIES[: size.train_cities]:
        rows = [r for i, t in enumerate(tasks) if t.district == name for r in done[i][0]]
        images["train"] += len(rows)
        _write_csv(folder / "gsv-cities" / "Dataframes" / f"{name}.csv", naming.GSV_COLUMNS, rows)
    for split in ("val", "test"):
        images[split] = sum(1 for _ in (folder / "images" / split).rglob("*.jpg"))
    _write_drive(folder / "drive", [done[i] for i, t in enumerate(tasks) if t.split == "drive"])
    summary: dict[str, Any] = {
        "format": FORMAT,
        "kind": "city",
        "creator": __version__,
        "seed": seed,
        "size": asdict(size),
        "districts": districts,
        "images": images,
        "drive": {"frames": size.drive_frames, "seconds": size.drive_frames / drive.RATE_HZ},
    }
    write_json(folder / MARK, summary)
    return summary


def _plan(folder: Path, seed: int, size: CitySize) -> tuple[list[Task], dict[str, dict[str, Any]]]:
    """The folders, the tasks that fill them, and what ``city.json`` says of each district."""
    districts: dict[str, dict[str, Any]] = {}
    tasks: list[Task] = []
    plans = [(name, "train", size.train_places) for name in TRAIN_CITIES[: size.train_cities]]
    plans += [("val", "val", size.val_places), ("test", "test", size.test_places)]
    for name, split, count in plans:
        across, up, places = choose_places(seed, name, count)
        districts[name] = {"split": split, "streets": [across, up], "places": count}
        for kind in ("database", "queries", *(["tuning"] if split == "test" else [])):
            if split != "train":
                (folder / "images" / split / kind).mkdir(parents=True)
        for start in range(0, count, 8):
            part = tuple(places[start : start + 8])
            tasks.append(Task(str(folder), seed, name, across, up, split, part, size))
        if split == "train":
            (folder / "gsv-cities" / "Images" / name).mkdir(parents=True)
        if split == "test":
            tasks += [
                Task(str(folder), seed, name, across, up, "drive", tuple(places), size,
                      (start, min(start + 25, size.drive_frames)))
                for start in range(0, size.drive_frames, 25)
            ]  # fmt: skip
    return tasks, districts


@contextmanager
def _pool(tasks: list[Task], workers: int) -> Iterator[Iterator[tuple[int, Rows, list[U8]]]]:
    """Results of the tasks as they are ready, each with its number."""
    if workers == 1:
        yield ((i, *draw(task)) for i, task in enumerate(tasks))
        return
    # spawn: the caller may hold threads (torch, OpenMP) that a fork would break.
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)),
        multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(),),
    )
    try:
        futures: dict[Future[tuple[Rows, list[U8]]], int] = {
            pool.submit(draw, task): i for i, task in enumerate(tasks)
        }
        yield ((futures[f], *f.result()) for f in as_completed(futures))
    except BrokenProcessPool as error:
        raise ResourceError(
            "found a drawing process ended from outside, expected memory for all of them: close "
            "other programs or pass `workers` 1"
        ) from error
    finally:
        # After an interrupt, what is queued is dropped and what runs (a few dozen images) ends.
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, which stops the pool and removes what was written; end with it.

    Otherwise workers would wait for ever for the next task of a parent that was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before
        os._exit(1)


def _write_csv(path: Path, columns: tuple[str, ...], rows: Rows) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def _write_drive(folder: Path, parts: list[tuple[Rows, list[U8]]]) -> None:
    import cv2

    folder.mkdir()
    images = [image for _, frames in parts for image in frames]
    height, width = images[0].shape[:2]
    path = folder / "drive.mp4"
    video = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*"mp4v"), drive.RATE_HZ, (width, height)
    )
    if not video.isOpened():
        raise ResourceError(
            f"found no way to write {path} as video (mp4v), expected an OpenCV with a video "
            "encoder: install opencv-python-headless from the package index"
        )
    for image in images:
        video.write(np.ascontiguousarray(image[..., ::-1]))
    video.release()
    _write_csv(folder / "drive.csv", DRIVE_COLUMNS, [row for rows, _ in parts for row in rows])
