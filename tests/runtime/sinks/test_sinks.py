"""Sinks through ``edgevpr run``: every kind from one bag, part files, a full disk."""

import csv
import fcntl
import json
from pathlib import Path

import cv2
import pytest

from edgevpr.errors import UsageError
from edgevpr.runtime.sinks import open_sink
from edgevpr.runtime.sources import cut_mcap

from ..bagfiles import START, mcap, raw
from ..build import World, place_image
from ..test_run_cli import command, finish


def test_a_bag_in_and_everything_out(world: World, tmp_path: Path) -> None:
    """Every sink is opened, closed and completed by the command, with the same answers."""
    bag = mcap(
        tmp_path / "drive.mcap",
        [("/camera", raw(place_image(i), "bgr8", START + i / 10), i / 10) for i in range(12)],
    )
    sinks = [f"csv:{tmp_path}/a.csv", f"mcap:{tmp_path}/a.mcap", f"video:{tmp_path}/a.mp4"]
    more = [word for uri in sinks for word in ("--sink", uri)]
    done = finish(command(world, f"{bag}?topic=/camera", *more))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["place"] for line in lines] == list(range(12))
    assert [line["time"] for line in lines] == pytest.approx([START + i / 10 for i in range(12)])
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [float(row["time"]) for row in rows] == [line["time"] for line in lines]
    assert cut_mcap.topics(tmp_path / "a.mcap")[0] == (
        "/edgevpr/fix", "sensor_msgs/msg/NavSatFix", 12
    )  # fmt: skip
    video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (12, 10)
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("small_disk", ["8k"], indirect=True)
def test_full_disk(world: World, small_disk: Path) -> None:
    """One sentence, and whole lines up to it."""
    done = finish(command(world, world.drive, "-o", str(small_disk / "out.jsonl")))
    assert done.returncode == 7
    part = small_disk / "out.jsonl.part"
    assert f"no space left on the disk of {part}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    frames = [json.loads(line)["frame"] for line in part.read_text().splitlines()]
    assert frames == list(range(len(frames)))
    assert 0 < len(frames) < 40


@pytest.mark.parametrize("kind", ["csv", "mcap"])
def test_a_folder_for_a_file(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match="found the folder"):
        open_sink(f"{kind}:{tmp_path}").__enter__()


@pytest.mark.parametrize("name", ["csv:a.csv", "mcap:a.mcap", "video:a.mp4"])
def test_two_runs_with_one_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The second is refused while the first runs, and not after."""
    monkeypatch.chdir(tmp_path)
    with open_sink(name) as first:
        with pytest.raises(UsageError, match="being written already"):
            open_sink(name).__enter__()
        done = finish(command(world, world.drive, "--sink", name))
        assert (done.returncode, done.stdout) == (2, "")
        assert "expected a name of its own" in done.stderr
        first.complete = True
    done = finish(command(world, world.drive, "--sink", name))
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == [name.partition(":")[2]]


def test_a_run_that_ends_while_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run locks its own part file, not the finished file of the one before."""
    part, done, lock = tmp_path / "a.csv.part", tmp_path / "a.csv", fcntl.flock
    part.write_text("finished")

    def ends_here(handle: int, how: int) -> None:
        if not done.exists():
            part.rename(done)
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", ends_here)
    with open_sink(f"csv:{done}"):
        assert done.read_text() == "finished"
        with pytest.raises(UsageError, match="being written already"):
            open_sink(f"csv:{done}").__enter__()
