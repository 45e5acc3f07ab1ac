"""Sinks through ``edgevpr run``: every kind from one bag, part files, a full disk."""

import csv
import fcntl
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import cv2
import pytest

from edgevpr.errors import UsageError
from edgevpr.runtime.sinks import PartFile, open_sink
from edgevpr.runtime.sources import cut_mcap

from ..answers import answer
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


def test_devices_and_pipes(world: World, tmp_path: Path) -> None:
    """Every file sink writes through them; replaced by a rename they would be files."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        done = finish(command(world, world.drive, "--limit", "3", "-o", str(pipe)))
        assert done.returncode == 0, done.stderr
        lines = reader.communicate(timeout=60)[0].splitlines()
    assert [json.loads(line)["place"] for line in lines] == [0, 1, 2]
    try:
        os.mknod(tmp_path / "null", 0o020666, os.makedev(1, 3))
    except PermissionError:
        return
    for kind in ("csv", "mcap"):
        with open_sink(f"{kind}:{tmp_path}/null") as sink:
            assert isinstance(sink, PartFile)
            sink.write(answer())
            sink.complete = True
    assert stat.S_ISCHR((tmp_path / "null").stat().st_mode)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["null", "pipe"]
    (tmp_path / "null.mp4").symlink_to("null")
    with pytest.raises(UsageError, match="a device or a pipe, expected a file"):
        open_sink(f"video:{tmp_path}/null.mp4")


def test_a_bag_through_a_pipe(tmp_path: Path) -> None:
    """The bag's index needs positions, which a pipe does not have."""
    os.mkfifo(tmp_path / "pipe")
    with (
        (tmp_path / "copy.mcap").open("wb") as copy,
        subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=copy) as reader,
    ):
        with open_sink(f"mcap:{tmp_path}/pipe") as sink:
            sink.write(answer())
        reader.wait(60)
    assert {count for *_, count in cut_mcap.topics(tmp_path / "copy.mcap")} == {1}


@pytest.mark.parametrize("kind", ["csv", "mcap", "video"])
def test_links_lead_to_their_file(tmp_path: Path, kind: str) -> None:
    name = "a.mp4" if kind == "video" else "a"
    (tmp_path / "far").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "far" / "real")
    (tmp_path / "far" / "real").touch(0o600)
    with open_sink(f"{kind}:{tmp_path}/{name}") as sink:
        assert isinstance(sink, PartFile)
        sink.write(answer())
        assert sink.part.parent == tmp_path / "far"
        sink.complete = True
    assert (tmp_path / name).is_symlink()
    assert (tmp_path / "far" / "real").stat().st_size > 0
    assert stat.S_IMODE((tmp_path / "far" / "real").stat().st_mode) == 0o600
    assert [p.name for p in (tmp_path / "far").iterdir()] == ["real"]


def test_a_run_does_not_write_over_what_it_reads(world: World, tmp_path: Path) -> None:
    """The very source, links to it and files of the map; refused before the first frame."""
    image = tmp_path / "v.png"
    shutil.copy(world.image(0), image)
    (tmp_path / "link.mp4").symlink_to(image)
    (tmp_path / "hard").hardlink_to(image)
    before = image.read_bytes()
    index = world.gallery / "index.faiss"
    for more in (
        ("-o", str(image)),
        ("-o", str(tmp_path / "hard")),
        ("--sink", f"video:{tmp_path}/link.mp4"),
        ("--sink", f"mcap:{image}"),
        ("--sink", f"csv:{index}"),
        ("-o", str(world.bundle / "new.jsonl")),
    ):
        done = finish(command(world, image, *more))
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "as what is read is never written over" in done.stderr
        assert more[0].replace("-o", "--output") in done.stderr
    assert image.read_bytes() == before
    done = finish(command(world, tmp_path, "-o", str(image)))
    assert done.returncode == 2, "one of a folder of images"
    (tmp_path / "a.csv.part").symlink_to(image)
    done = finish(command(world, image, "--sink", f"csv:{tmp_path}/a.csv"))
    assert done.returncode == 2, "the part file is no way to it either"
    assert image.read_bytes() == before


@pytest.mark.parametrize("kind", ["csv:", "csv://", "mcap:"])
def test_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A shell expands ~ at the start of a word only; nobody means a folder of that name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with open_sink(f"{kind}~/x"):
        assert [path.name for path in tmp_path.iterdir()] == ["x.part"]
