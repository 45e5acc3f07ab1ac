"""Times of video frames: they go forward, and a whole video is not called damaged."""

import math
import threading
from pathlib import Path

import pytest

from edgevpr.runtime import open_source
from edgevpr.runtime.sources.video_clock import VideoClock

from .test_open_source import all_frames, video


def times(clock: VideoClock, positions_ms: list[float]) -> list[float | None]:
    return [clock.time(each) for each in positions_ms]


@pytest.mark.parametrize("nothing", [0.0, -1.0, math.nan, -9.2e15])
def test_a_raw_stream_counts_by_its_rate(nothing: float) -> None:
    """raspivid and nvv4l2h264enc write no times; a rate is guessed by FFmpeg."""
    assert times(VideoClock(-1, 25), [nothing] * 4) == [0.0, 0.04, 0.08, 0.12]


@pytest.mark.parametrize("fps", [0.0, -1.0, math.nan, math.inf, 90000.0])
def test_neither_times_nor_a_rate(fps: float) -> None:
    """No time rather than the same one again and again."""
    assert times(VideoClock(-1, fps), [0.0, 0.0, 0.0])[1:] == [None, None]


def test_times_are_short() -> None:
    found = times(VideoClock(40, 10), [i * 100.00000000000001 for i in range(80)])
    assert found == [round(i / 10, 6) for i in range(80)]


def test_frames_out_of_order_and_equal_ones() -> None:
    """Every time is later than the one before; the later ones are the container's."""
    found = times(VideoClock(10, 10), [0, 100, 300, 200, 300, 500])
    assert found == [0.0, 0.1, 0.3, 0.4, 0.5, 0.6]
    assert times(VideoClock(10, 10), [0, 100, 100, 900]) == [0.0, 0.1, 0.2, 0.9]


def test_a_recording_that_starts_again(tmp_path: Path) -> None:
    """Two recordings one behind the other are one drive."""
    found = times(VideoClock(10, 1), [0, 1000, 2000, 0, 1000])
    assert found == [0.0, 1.0, 2.0, 3.0, 4.0]
    once = video(tmp_path / "a.ts").read_bytes()
    (tmp_path / "twice.ts").write_bytes(once * 2)
    twice = [frame.time for frame in all_frames(str(tmp_path / "twice.ts"))]
    assert twice == [round(i / 10, 6) for i in range(40)]


def ended(announced: float, fps: float, positions_s: list[float]) -> str:
    clock = VideoClock(announced, fps)
    times(clock, [1e3 * each for each in positions_s])
    return clock.missing()


def test_variable_rates_are_no_damage() -> None:
    """OpenCV takes an mkv's seconds times a guessed rate for its number of frames."""
    changing = [0.0, 0.033, 0.066, 0.1, *map(float, range(1, 27))]
    assert ended(261, 10, changing) == ""
    assert "after 15 of the 261 frames" in ended(261, 10, changing[:15])
    assert "at 11.0 of 26.1 s" in ended(261, 10, changing[:15])
    # a slide show: one picture a minute, of which the last is shown for one, too
    assert ended(18000, 30, [60.0 * i for i in range(10)]) == ""


def test_whole_and_cut() -> None:
    assert ended(100, 10, [i / 10 for i in range(98)]) == ""
    assert "after 50 of the 100" in ended(100, 10, [i / 10 for i in range(50)])
    assert "after 10 of the 20" in ended(20, 10, [i / 10 for i in range(10)])
    assert ended(-1, 25, [0.0]) == ""
    assert ended(math.nan, math.nan, [0.0]) == ""


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_a_cut_matroska_file(tmp_path: Path, name: str) -> None:
    codec = "VP80" if name == "a.webm" else "mp4v"
    whole = video(tmp_path / name, 40, codec)
    with open_source(str(whole)) as source:
        assert len(list(source.frames(threading.Event()))) == 40
        assert source.remark == ""
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) * 6 // 10])
    with open_source(str(whole)) as source:
        assert 10 < len(list(source.frames(threading.Event()))) < 30
        assert "it was cut off" in source.remark
