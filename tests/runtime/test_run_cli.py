"""``edgevpr run`` as a process: lines, exit codes, signals, a reader that goes away."""

import contextlib
import csv
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .build import PLACES, World, place_image, write_bundle

MANY = 3000


def command(world: World, source: Path | str, *more: str, bundle: Path | None = None) -> list[str]:
    return [
        *(sys.executable, "-m", "edgevpr", "run", str(source), "--threads", "1"),
        *("--bundle", str(bundle or world.bundle), "--gallery", str(world.gallery), *more),
    ]


def finish(args: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(args, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def long_drive(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of many frames: links to a few images."""
    folder = tmp_path_factory.mktemp("long")
    for i in range(MANY):
        (folder / f"{i:05d}.png").symlink_to(world.image(i % PLACES))
    return folder


def test_lines_on_stdout_summary_on_stderr(world: World) -> None:
    """Remarks never mix into the lines, which have their documented fields."""
    done = finish(command(world, world.drive, "--top", "3", "--limit", "4"))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["place"] for line in lines] == [0, 1, 2, 3]
    first = lines[0]
    assert list(first) == [
        *("frame", "source", "time", "frame_age_ms", "place", "lat", "lon", "score", "top", "ms"),
        *("confidence", "known"),
    ]
    assert list(first["top"][0]) == ["place", "lat", "lon", "score", "image"]
    assert list(first["ms"]) == ["capture", "preprocess", "engine", "search", "total"]
    assert len(first["top"]) == 3
    assert first["top"][0]["image"].startswith("place-000-")
    assert 54 < first["lat"] < 55
    assert first["source"] == str(world.image(0))
    assert "4 frames in" in done.stderr
    assert "0 dropped, 0 unreadable" in done.stderr


def test_near_restricts_the_search(world: World) -> None:
    first = json.loads(finish(command(world, world.drive, "--limit", "1")).stdout)
    there = f"{first['lat']},{first['lon']},150"
    done = finish(command(world, world.drive, "--limit", "9", "--near", there))
    assert done.returncode == 0, done.stderr
    places = [m["place"] for line in done.stdout.splitlines() for m in json.loads(line)["top"]]
    assert set(places) == {0, 1}
    done = finish(command(world, world.drive, "--near", "10,10,150"))
    assert done.returncode == 3
    assert "the nearest image of the map is" in done.stderr
    assert "Traceback" not in done.stderr


def test_output_file_and_json_summary(world: World, tmp_path: Path) -> None:
    """The summary is alone on stdout, and no part file is left."""
    out = tmp_path / "out.jsonl"
    done = finish(command(world, world.drive, "-o", str(out), "--json"))
    assert done.returncode == 0, done.stderr
    assert len(out.read_text().splitlines()) == PLACES
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]
    summary = json.loads(done.stdout)
    assert summary["frames"] == PLACES
    assert summary["end_to_end_ms"]["p50"] > 0


def test_further_sinks(world: World, tmp_path: Path) -> None:
    """The CSV agrees with the lines."""
    table = tmp_path / "answers.csv"
    sinks = ("--sink", f"csv:{table}", "--sink", "nmea-tcp://:0")
    done = finish(command(world, world.drive, "--limit", "3", *sinks))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    rows = list(csv.DictReader(table.open()))
    assert [int(row["place"]) for row in rows] == [line["place"] for line in lines] == [0, 1, 2]
    assert [float(row["lat"]) for row in rows] == [line["lat"] for line in lines]
    assert rows[0]["error"] == ""
    assert not list(tmp_path.glob("*.part"))
    done = finish(command(world, world.drive, "--sink", "ftp://x"))
    assert done.returncode == 2
    assert "expected csv:FILE" in done.stderr


def test_nothing_readable_is_an_error(world: World, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"garbage")
    done = finish(command(world, tmp_path))
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]
    assert "found 1 frame of " in done.stderr


def test_bundle_of_another_space_is_refused(world: World, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "b", space="boq-48-ffffffffffff")
    done = finish(command(world, world.drive, bundle=other))
    assert done.returncode == 4
    assert done.stdout == ""
    assert "boq-48-ffffffffffff" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_drains_and_closes(world: World, long_drive: Path, number: int) -> None:
    """Whole lines, a summary, and the frames already decoded."""
    with subprocess.Popen(
        command(world, long_drive), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        # The pipe holds some hundred lines at most: the run cannot be over yet.
        process.send_signal(number)
        # Not communicate(): it loses what readline() has buffered.
        assert process.stderr is not None
        rest, stderr = process.stdout.read(), process.stderr.read()
    lines = [json.loads(line) for line in [first, *rest.splitlines()]]
    assert process.returncode == 130, stderr
    assert [line["frame"] for line in lines] == list(range(len(lines)))
    assert len(lines) < MANY
    assert f"{len(lines)} frames in" in stderr
    assert "Traceback" not in stderr


def test_interrupted_file_stays_partial(world: World, long_drive: Path, tmp_path: Path) -> None:
    """The older file stays; the answers so far are in the part."""
    out = tmp_path / "out.jsonl"
    out.write_text("an older run\n")
    part = tmp_path / "out.jsonl.part"
    with subprocess.Popen(
        command(world, long_drive, "-o", str(out)), stderr=subprocess.PIPE, text=True
    ) as process:
        while not (part.exists() and part.stat().st_size):
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert out.read_text() == "an older run\n"
    lines = part.read_text().splitlines()
    assert 0 < len(lines) < MANY
    assert json.loads(lines[-1])["frame"] == len(lines) - 1
    says = stderr.splitlines()[-1]
    assert says.startswith("edgevpr: interrupted before the end of ")
    assert str(part) in says
    assert stderr.count("edgevpr: interrupted") == 1


def test_reader_that_goes_away(world: World, long_drive: Path) -> None:
    """``edgevpr run ... | head -1`` ends without a traceback."""
    with subprocess.Popen(
        command(world, long_drive), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["frame"] == 0
        process.stdout.close()
        assert process.stderr is not None
        stderr = process.stderr.read()
        assert process.wait(timeout=120) == 1
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
    assert len(stderr.splitlines()) <= 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_behind_stdout(world: World) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(world, world.drive), stdout=full, stderr=subprocess.PIPE, text=True, timeout=120
        )
    assert done.returncode == 7
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_video_of_places(world: World, tmp_path: Path) -> None:
    """Frame numbers and times are the video's."""
    import cv2

    path = tmp_path / "drive.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 5, (64, 48))
    for place in range(12):
        writer.write(place_image(place))
    writer.release()
    done = finish(command(world, path))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == list(range(12))
    assert [line["time"] for line in lines] == pytest.approx([i / 5 for i in range(12)])
    # compression shifts the colours a little: measured 12 of 12 places right
    assert sum(line["place"] == i for i, line in enumerate(lines)) >= 11


def patched(assignment: str, args: list[str]) -> list[str]:
    """``command`` with a constant of the runtime set to something else."""
    module = assignment.partition(".")[0]
    code = f"from edgevpr.runtime import {module}; {assignment}\n"
    return [sys.executable, "-c", code + "from edgevpr.cli.main import main; main()", *args[3:]]


@pytest.mark.parametrize("asked", ["SIGHUP", "--watch"])
def test_swap_while_it_runs(world: World, long_drive: Path, tmp_path: Path, asked: str) -> None:
    """On SIGHUP, and by itself with --watch."""
    bundle = write_bundle(tmp_path / "b")
    options = ["--shadow", "3", "--max-slowdown", "1000", *(["--watch"] * (asked == "--watch"))]
    args = patched("swap.POLL_S = 0.0", command(world, long_drive, *options, bundle=bundle))
    with subprocess.Popen(
        args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        write_bundle(bundle, extra=lambda folder: (folder / "golden").touch())
        if asked == "SIGHUP":
            process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        rest, stderr = process.stdout.read(), process.stderr.read()
    assert process.returncode == 0, stderr
    places = [json.loads(line)["place"] for line in [first, *rest.splitlines()]]
    assert places == [i % PLACES for i in range(MANY)]
    assert f"swapped to the new {bundle} and {world.gallery}" in stderr
    assert len(stderr.splitlines()) == 2


def test_a_sink_that_takes_nothing_more(world: World, long_drive: Path) -> None:
    """A signal ends a run whose pipe is full."""
    args = patched("loop.DRAIN_S = 0.3", command(world, long_drive))
    with subprocess.Popen(
        args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        # No one reads on: the pipe fills, and the first signal cannot drain.
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        stderr = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr


OPENING = """
import os, signal, sys, threading
from edgevpr import runtime
from edgevpr.runtime import localizer_thread, loop, run_options

real = runtime.open_localizer
localizer_thread._CLOSE_S = localizer_thread._EXIT_S = 0.1

def opening(*args, **options):
    for number in {numbers}:
        os.kill(os.getpid(), number)
    if {hangs}:
        threading.Event().wait()
    return real(*args, **options)

run_options.open_localizer = opening
loop.DRAIN_S = {drain_s}
from edgevpr.cli.main import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_engine_opens(world: World, number: signal.Signals) -> None:
    """Code 130 and no word of C++; the engine is opened and closed first."""
    code = OPENING.format(numbers=[int(number)], hangs=False, drain_s=60)
    done = finish([sys.executable, "-c", code, *command(world, world.drive)[3:]])
    assert done.returncode == 130, done.stderr
    assert "0 frames in" in done.stderr
    assert "terminate" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM]])
def test_an_engine_that_does_not_open(world: World, numbers: list[signal.Signals]) -> None:
    """A run that was stopped ends, whatever its engine does."""
    code = OPENING.format(numbers=list(map(int, numbers)), hangs=True, drain_s=0.2)
    done = finish([sys.executable, "-c", code, *command(world, world.drive)[3:]])
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("edgevpr: interrupted")
    assert "Traceback" not in done.stderr


SILENT = """
import os, signal, sys, threading
from edgevpr import runtime
from edgevpr.runtime.sources.cameras import _parse

class Silent:
    def __init__(self):
        self.over = threading.Event()
    def grab(self):
        os.kill(os.getpid(), signal.SIGINT)
        self.over.wait(60)
        return False
    def retrieve(self):
        return False, None
    def release(self):
        pass

def open_source(uri, camera=None):
    return runtime.LiveSource(Silent(), _parse(uri).name)

runtime.open_source = open_source
from edgevpr.cli.main import main
main()
"""


def test_a_live_run_stopped_before_its_first_frame(world: World) -> None:
    """It was stopped, so it did what was asked; nothing was unreadable."""
    args = command(world, "rtsp://admin:s3cret@127.0.0.1:1/x")[3:]
    done = finish([sys.executable, "-c", SILENT, *args])
    assert done.returncode == 0, done.stderr
    assert "0 frames in" in done.stderr
    assert "s3cret" not in done.stderr


def test_names_that_are_no_utf8(world: World, tmp_path: Path) -> None:
    """Lines and table go on after such a file, and name it with escapes."""
    folder = tmp_path / "p"
    folder.mkdir()
    for place, name in enumerate([b"a.png", b"caf\xe9.png", b"z.png"]):
        (folder / os.fsdecode(name)).symlink_to(world.image(place))
    table = tmp_path / "a.csv"
    done = finish(command(world, folder, "--sink", f"csv:{table}"))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["place"] for line in lines] == [0, 1, 2]
    assert lines[1]["source"].endswith(r"/caf\xe9.png")
    assert [row["source"] for row in csv.DictReader(table.open())] == [x["source"] for x in lines]


def test_what_a_folder_holds_and_is_not_read(world: World, tmp_path: Path) -> None:
    """Is counted and named on stderr, and in the summary; a linked folder is answered."""
    (tmp_path / "day1").symlink_to(world.drive)
    (tmp_path / "@eaDir").mkdir()
    (tmp_path / "@eaDir" / "thumb.png").symlink_to(world.image(0))
    (tmp_path / "photo.heic").write_bytes(b"heic")
    done = finish(command(world, tmp_path, "--limit", "2"))
    assert done.returncode == 0, done.stderr
    sources = [json.loads(line)["source"] for line in done.stdout.splitlines()]
    assert sources == [f"{tmp_path}/day1/{name}.png" for name in ("000", "001")]
    assert f"{tmp_path}: 1 left out (photo.heic: HEIC is not read" in done.stderr


@pytest.mark.parametrize("more", [[], ["--limit", "7"], ["-o", "OUT"]])
def test_a_bar_in_a_terminal(world: World, tmp_path: Path, more: list[str]) -> None:
    """On stderr, with the count; stdout has the lines alone."""
    more = [str(tmp_path / "out.jsonl") if word == "OUT" else word for word in more]
    terminal, other_end = pty.openpty()
    with subprocess.Popen(
        command(world, world.drive, *more), stdout=subprocess.PIPE, stderr=other_end
    ) as process:
        os.close(other_end)
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        drawn = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(terminal, 4096):
                drawn += part
    os.close(terminal)
    assert process.returncode == 0, drawn
    count = 7 if "--limit" in more else PLACES
    assert b"locating frames" in drawn
    assert f"{count}/{count}".encode() in drawn
    assert drawn.rstrip().endswith(b"0 dropped, 0 unreadable")
    lines = (tmp_path / "out.jsonl").read_bytes().splitlines() if "-o" in more else lines
    assert [json.loads(line)["frame"] for line in lines] == list(range(count))


def test_no_bar_in_a_pipe_nor_among_lines(world: World) -> None:
    """Neither in a log, nor where the terminal shows the lines themselves."""
    done = finish(command(world, world.drive, "--limit", "3"))
    assert len(done.stderr.splitlines()) == 1
    terminal, other_end = pty.openpty()
    args = command(world, world.drive, "--limit", "3")
    process = subprocess.Popen(args, stdout=other_end, stderr=other_end)
    os.close(other_end)
    shown = b""
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert process.wait() == 0
    assert b"locating" not in shown
    assert len(shown.splitlines()) == 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-o", ""], "expected the name of a file"),
        (["-o", "x" * 300], "a name too long"),
        (["--sink", "csv:" + "x" * 300], "a name too long"),
        (["--sink", "csv:"], "nothing after the colon"),
        (["--sink", "nmea-tcp://[::1]"], "no port"),
        (["--sink", "nmea-tcp://[::1"], "Invalid IPv6 URL"),
    ],
)
def test_names_that_cannot_be_written(world: World, options: list[str], says: str) -> None:
    """Are usage errors in one sentence, before a frame is answered."""
    done = finish(command(world, world.image(0), *options))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr.splitlines()[-1]
    assert "unexpected" not in done.stderr


def test_a_file_that_may_not_grow(world: World, tmp_path: Path) -> None:
    """As on a file system of 4 GB: whole lines up to there, and code 7."""
    words = command(world, world.drive, "-o", str(tmp_path / "out.jsonl"))
    done = finish(["sh", "-c", 'ulimit -f 4; exec "$0" "$@"', *words])
    assert done.returncode == 7
    assert "at the largest size that its file system or ulimit -f allows" in done.stderr
    lines = (tmp_path / "out.jsonl.part").read_text().splitlines()
    assert [json.loads(line)["frame"] for line in lines] == list(range(len(lines)))
    assert 0 < len(lines) < PLACES
