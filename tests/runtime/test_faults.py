"""Faults around a run: no answer is lost, nothing hangs, one sentence each.

Beside these: unreadable images and NaN in ``test_loop``, damaged videos and cameras that come back
in ``sources``, a reader that goes away and signals of a whole process in ``test_run_cli``, a new
map under a running loop in ``test_swap``.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgevpr.runtime import (
    Answer,
    Frame,
    FrameError,
    Localizer,
    LocalizerThread,
    Runner,
    RunSummary,
    call_on_hangup,
    loop,
    open_localizer,
    open_source,
    run,
    stop_on_signals,
)
from edgevpr.runtime.sources.frames import ImageFiles
from edgevpr.runtime.sources.live import LiveSource

from .build import PLACES, FakeCamera, World, write_bundle


class Kept:
    """Keeps answers; ``then(n)`` is called after the n-th, counted from 1."""

    def __init__(self, then: Callable[[int], object] = lambda n: None) -> None:
        self.all: list[Answer | FrameError] = []
        self._then = then

    def write(self, answer: Answer | FrameError, frame: Frame) -> None:
        self.all.append(answer)
        self._then(len(self.all))


class Engine:
    """A runner that calls ``before(n)`` ahead of its n-th frame, counted from 1 after warm-up."""

    def __init__(self, runner: Runner, before: Callable[[int], object]) -> None:
        self._runner = runner
        self.device = runner.device
        self._before, self._count = before, -3

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def infer(self, images: np.ndarray) -> np.ndarray:
        self._count += 1
        if self._count > 0:
            self._before(self._count)
        return self._runner.infer(images)


def localizer(world: World, before: Callable[[int], object] = lambda n: None) -> Localizer:
    opened = open_localizer(world.bundle, world.gallery, threads=1)
    opened.runner = Engine(opened.runner, before)
    return opened


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name in ("engine", "decode") or thread.name.startswith("camera"):
            thread.join(5)
            assert not thread.is_alive(), thread.name


def live_run(world: World, camera: FakeCamera, sink: Kept) -> RunSummary:
    with LiveSource(camera, "cam") as source:
        camera.give(1)
        return run(source, localizer(world), sink)


def test_camera_gone_while_the_engine_works(world: World, camera: FakeCamera) -> None:
    """The frame at work is answered, and the run ends."""
    sink = Kept(lambda n: camera.give(1) if n < 4 else camera.unplug())
    summary = live_run(world, camera, sink)
    assert [a.frame for a in sink.all] == [0, 1, 2, 3]
    assert not summary.interrupted
    assert len(summary.remarks) == 1
    assert "gone" in summary.remarks[0]
    assert camera.released.wait(5)


def test_sink_that_breaks_under_a_camera(world: World, camera: FakeCamera) -> None:
    """The camera is released and no thread is left."""

    def fail(n: int) -> None:
        if n == 2:
            camera.unplug()
            raise BrokenPipeError
        camera.give(1)

    with pytest.raises(BrokenPipeError):
        live_run(world, camera, Kept(fail))
    assert camera.released.wait(5)


class Stuck(ImageFiles):
    """Image files on a disk that stops answering before the fourth."""

    def __init__(self, world: World, until: threading.Event) -> None:
        super().__init__(sorted(world.drive.iterdir()))
        self._until = until

    def frames(self, stop: threading.Event) -> Generator[Frame, None, None]:
        for frame in super().frames(stop):
            if frame.id == 3:
                assert self._until.wait(60)
            yield frame


def test_slow_disk_holds_no_answers_back(world: World) -> None:
    """Answers are written while the next frame is still being read."""
    answered = threading.Event()
    sink = Kept(lambda n: answered.set() if n == 3 else None)
    with Stuck(world, answered) as source:
        summary = run(source, localizer(world), sink)
    assert summary.frames == len(sink.all) == PLACES


def test_signal_while_the_disk_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run over a dead network mount ends, with the answers so far."""
    monkeypatch.setattr(loop, "_CLOSE_S", 0.1)
    never = threading.Event()
    sink = Kept(lambda n: signal.raise_signal(signal.SIGTERM) if n == 3 else None)
    with stop_on_signals() as stop, Stuck(world, never) as source:
        summary = run(source, localizer(world), sink, stop=stop)
    never.set()
    assert [a.frame for a in sink.all] == [0, 1, 2]
    assert summary.interrupted


def test_engine_that_breaks_with_frames_behind_it(world: World) -> None:
    """Answers already made are written, and the error is raised."""

    def fail(n: int) -> None:
        if n == 7:
            raise OSError("the GPU fell off the bus")

    sink = Kept()
    with open_source(str(world.drive)) as source, pytest.raises(OSError, match="fell off the bus"):
        run(source, localizer(world, fail), sink)
    assert [a.frame for a in sink.all] == list(range(6))


def test_clock_that_goes_backwards(
    world: World, camera: FakeCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ages and durations do not use the wall clock, which NTP and GPS set."""
    start = time.time()
    ticks = iter(range(1_000_000))
    monkeypatch.setattr(time, "time", lambda: start - 3600.0 * next(ticks))
    sink = Kept(lambda n: camera.give(1) if n < 5 else camera.unplug())
    summary = live_run(world, camera, sink)
    answers = [a for a in sink.all if isinstance(a, Answer)]
    assert [a.frame for a in answers] == [0, 1, 2, 3, 4]
    times = [a.time for a in answers if a.time is not None]
    assert times == sorted(times, reverse=True), "unchanged, the wall clock included"
    assert all(0 <= a.frame_age_ms < 60_000 for a in answers)
    assert 0 <= summary.seconds < 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_under_a_camera(world: World, camera: FakeCamera, number: int) -> None:
    """The frame at work is answered, and the run ends."""

    def work(n: int) -> None:
        if n == 3:
            signal.raise_signal(number)
        else:
            camera.give(1)

    sink = Kept(work)
    with stop_on_signals() as stop, LiveSource(camera, "cam") as source:
        camera.give(1)
        summary = run(source, localizer(world), sink, stop=stop)
        camera.unplug()
    assert [a.frame for a in sink.all] == [0, 1, 2]
    assert summary.interrupted
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_second_signal_interrupts_an_engine_that_hangs(world: World) -> None:
    hangs, release = threading.Event(), threading.Event()

    def hang(n: int) -> None:
        if n == 2:
            hangs.set()
            release.wait(60)

    def signals(stop: threading.Event) -> None:
        hangs.wait(60)
        while not sink.all:  # the engine hangs in the second frame, the first is on its way
            release.wait(0.01)
        signal.pthread_kill(main, signal.SIGINT)
        stop.wait(60)  # two at once would be delivered as one
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.get_ident()
    sink = Kept()
    with stop_on_signals() as stop, open_source(str(world.drive)) as source:
        sender = threading.Thread(target=signals, args=[stop])
        sender.start()
        with pytest.raises(KeyboardInterrupt):
            run(source, localizer(world, hang), sink, stop=stop)
        sender.join()
    release.set()
    assert [a.frame for a in sink.all] == [0]


def test_hangup_stops_when_the_terminal_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, asked = threading.Event(), threading.Event()
    with call_on_hangup(asked.set, stop):
        signal.raise_signal(signal.SIGHUP)
    assert (asked.is_set(), stop.is_set()) == (True, False)
    asked.clear()
    monkeypatch.setattr(os, "isatty", lambda handle: True)
    with call_on_hangup(asked.set, stop):
        signal.raise_signal(signal.SIGHUP)
        assert (asked.is_set(), stop.is_set()) == (True, False)
        asked.clear()
        monkeypatch.setattr(os, "isatty", lambda handle: False)
        signal.raise_signal(signal.SIGHUP)
    assert (asked.is_set(), stop.is_set()) == (False, True)


def test_an_error_while_opening_reaches_the_caller(world: World) -> None:
    def fail() -> Localizer:
        raise MemoryError("engine")

    with pytest.raises(MemoryError), LocalizerThread(fail):
        pass


def command(world: World, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "edgevpr", "run", str(world.drive), "--threads", "1"),
        *("--bundle", str(world.bundle), "--gallery", str(world.gallery), *more),
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("sink", ["--output", "--sink"])
def test_full_disk_under_a_file(world: World, tmp_path: Path, sink: str) -> None:
    """One sentence, and what stands there stays: a link to a device is written through."""
    (tmp_path / "out").symlink_to("/dev/full")
    where = str(tmp_path / "out") if sink == "--output" else f"csv:{tmp_path / 'out'}"
    done = subprocess.run(command(world, sink, where), capture_output=True, text=True, timeout=120)
    assert done.returncode == 7
    assert len(done.stderr.splitlines()) == 1
    assert "no space left" in done.stderr
    assert (tmp_path / "out").is_symlink()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_two_runs_on_one_gallery_that_is_replaced(world: World, tmp_path: Path) -> None:
    """Neither blocks the other, and only the one that was asked changes its map."""
    bundle, gallery = tmp_path / "bundle", tmp_path / "gallery"
    shutil.copytree(world.gallery, gallery)
    write_bundle(bundle)
    many = tmp_path / "many"
    many.mkdir()
    for i in range(1500):
        (many / f"{i:05d}.png").symlink_to(world.image(i % PLACES))
    args = [
        *(sys.executable, "-m", "edgevpr", "run", str(many), "--threads", "1"),
        *("--bundle", str(bundle), "--gallery", str(gallery)),
    ]
    both = [
        subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    # Both are running, and blocked by full pipes.
    first = [process.stdout.readline() for process in both]
    shutil.rmtree(gallery)
    shutil.rmtree(bundle)
    for process, line in zip(both, first, strict=True):
        rest, stderr = process.stdout.read(), process.stderr.read()
        places = [json.loads(text)["place"] for text in [line, *rest.splitlines()]]
        assert places == [i % PLACES for i in range(1500)]
        assert process.wait(60) == 0, stderr
        assert len(stderr.splitlines()) == 1
