"""Answers of a run whose gallery has a confidence model: confidences and fixes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.records import BundleRecord
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.errors import ArtifactError, UsageError
from edgevpr.places.table import ImageTable
from edgevpr.runtime import Gallery, judge_for

from .build import PLACES, World, describe, place_image, write_features

VIEWS = 3


@pytest.fixture(scope="module")
def gallery(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's map, indexed with held-out views of its places: the confidences are of the
    network that runs, so its figures are those of the run."""
    root = tmp_path_factory.mktemp("calibrated")
    noise = np.random.default_rng(0)

    def worn(place: int, view: int) -> np.ndarray:
        shift = noise.integers(-30, 31, (2, 2, 3))
        image = place_image(place, view).astype(int) + np.kron(shift, np.ones((24, 32, 1)))
        return np.clip(image, 0, 255).astype(np.uint8)

    views = [worn(p, v) for p in range(PLACES) for v in range(11, 11 + VIEWS)]
    queries = write_features(root / "queries", describe(views, world.bundle))
    build_gallery(world.features, root / "gallery", queries=queries)
    return root / "gallery"


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of the map's places, then of as many that it does not hold."""
    folder = tmp_path_factory.mktemp("drive")
    for place in range(2 * PLACES):
        image = place_image(place if place < PLACES else place + 1000, view=99)
        cv2.imwrite(str(folder / f"{place:03d}.png"), image)
    return folder


def run(world: World, gallery: Path, source: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["-m", "edgevpr", "run", str(source), "--threads", "1", *more]
    return subprocess.run(
        [sys.executable, *command, "--bundle", str(world.bundle), "--gallery", str(gallery)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_places_that_the_map_does_not_hold(world: World, gallery: Path, drive: Path) -> None:
    """Confidences, of searches through the index, tell mapped from unmapped."""
    done = run(world, gallery, drive)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    known = [line["known"] for line in lines]
    assert np.mean(known[:PLACES]) > 0.8  # measured 1.0
    assert np.mean(known[PLACES:]) < 0.1  # measured 0.0
    # no fix, and still everything that was found
    assert all(len(line["top"]) == 5 and line["lat"] for line in lines)
    strict = run(world, gallery, drive, "--min-confidence", "1")
    assert [json.loads(line)["known"] for line in strict.stdout.splitlines()] == [False] * len(
        lines
    )


def test_a_gallery_without_a_confidence_model(world: World, drive: Path) -> None:
    """Confidence and known are null, and a threshold is refused."""
    done = run(world, world.gallery, drive, "--limit", "1")
    line = json.loads(done.stdout)
    assert line["confidence"] is None
    assert line["known"] is None
    asked = run(world, world.gallery, drive, "--min-confidence", "0.5")
    assert asked.returncode == 2
    assert "no confidence model" in asked.stderr
    assert "edgevpr index FEATURES --queries" in asked.stderr


def test_runs_that_cannot_give_a_fix_say_so(world: World, gallery: Path, drive: Path) -> None:
    """At the start, with what would; and no sink takes an answer that nothing judged."""
    sink = ("--limit", "1", "--sink", "nmea-tcp://:0")
    done = run(world, world.gallery, drive, *sink)
    assert "no answer will be a fix" in done.stderr
    assert "edgevpr index FEATURES --queries" in done.stderr
    assert "--assume-known" in done.stderr
    assert "no answer" not in run(world, world.gallery, drive, *sink, "--assume-known").stderr
    assert "no answer" not in run(world, world.gallery, drive, "--limit", "1").stderr
    assert "no answer" not in run(world, gallery, drive, *sink).stderr
    strict = run(world, gallery, drive, "--limit", "1", "--min-confidence", "1")
    assert "no answer will be a fix: --min-confidence is 1" in strict.stderr


def test_positions_that_are_nowhere(world: World, tmp_path: Path) -> None:
    """A map with a latitude of 91.5 is refused where it is opened."""
    copy = shutil.copytree(world.gallery, tmp_path / "G")
    table = ImageTable.load(copy / "images.csv")
    table.lat[1], table.lon[2] = 91.5, 200.0
    with write_artifact(copy, "gallery", space=Gallery(world.gallery).artifact.space) as folder:
        for file in world.gallery.iterdir():
            if file.is_file() and file.name not in ("manifest.json", "images.csv"):
                shutil.copy(file, folder)
        table.save(folder / "images.csv")
    with pytest.raises(ArtifactError, match=r"lat 91\.5 of .* expected -90 to 90"):
        Gallery(copy)


def test_scores_of_another_network_are_not_judged(world: World, gallery: Path) -> None:
    record = open_artifact(world.bundle, "bundle").read("bundle.json", BundleRecord)
    opened = Gallery(gallery)
    judge = judge_for(opened, record)
    assert judge is not None
    assert judge.threshold == opened.record.confidence.threshold
    other = msgspec.structs.replace(record, model_digest="another")
    assert judge_for(opened, other) is None
    with pytest.raises(UsageError, match="another network"):
        judge_for(opened, other, 0.5)


def test_galleries_from_before_still_open(world: World, tmp_path: Path) -> None:
    """A gallery of before confidences has none, and opens."""
    record = json.loads((world.gallery / "gallery.json").read_text())
    del record["calibration"]
    with write_artifact(
        tmp_path / "old", "gallery", space=Gallery(world.gallery).artifact.space
    ) as f:
        for name in ("index.faiss", "images.csv", "projection.npy"):
            if (world.gallery / name).exists():
                (f / name).write_bytes((world.gallery / name).read_bytes())
        (f / "gallery.json").write_text(json.dumps(record))
    assert Gallery(tmp_path / "old").record.confidence is None
