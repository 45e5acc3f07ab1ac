"""The annotated video: every frame, at its own speed, readable after interrupted runs."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevpr.errors import UsageError
from edgevpr.runtime import Frame
from edgevpr.runtime.sinks import PartFile, open_sink, video
from edgevpr.runtime.sinks.annotate import STRIP, Annotator
from edgevpr.runtime.sinks.position import FixRule

from ..answers import UNREADABLE, answer

GREEN, RED = (90, 200, 90), (70, 70, 230)


def frame(i: int, size: tuple[int, int] = (640, 360)) -> Frame:
    """Black, with a white bar that moves right by number."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[:, 20 * i : 20 * i + 20] = 255
    return Frame(i, "cam", image, 0.0, None, 0.0)


def record(uri: str, times: Sequence[float | None]) -> None:
    with open_sink(uri) as sink:
        assert isinstance(sink, PartFile)
        for i, at in enumerate(times):
            sink.write(answer(frame=i, time=at), frame(i))
        sink.complete = True


def played(path: Path) -> tuple[float, list[int]]:
    """Rate, and the number of the frame that each picture shows."""
    capture = cv2.VideoCapture(str(path))
    numbers = []
    while True:
        found, picture = capture.read()
        if not found:
            return capture.get(cv2.CAP_PROP_FPS), numbers
        assert picture.shape == (360 + STRIP, 640, 3)
        bright = np.flatnonzero(picture[150, :, 0] > 128)
        numbers.append(round((bright.mean() - 9.5) / 20))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_every_frame_at_its_rate(tmp_path: Path, suffix: str) -> None:
    """The first and the last frame are there, and the rate is the source's."""
    path = tmp_path / "deep" / f"out{suffix}"
    record(f"video:{path}", [i / 25 for i in range(20)])
    rate, numbers = played(path)
    assert rate == pytest.approx(25, abs=0.01)
    assert numbers == list(range(20))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_time_is_kept(tmp_path: Path) -> None:
    """Slow cameras, long pauses, a clock that goes back, and images without times."""
    path = tmp_path / "out.mp4"
    # Ten a second; three missing after 2; an hour's pause; then the clock is set back.
    times = [0, 0.1, 0.2, 0.6, 0.7, 3600.0, 3600.1, 50.0, 50.1, 50.2]
    record(f"video:{path}", [1.7e9 + t for t in times])
    assert played(path) == (10, [0, 1, 2, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9])
    record(f"video:{path}?fps=5", [0, 0.08, 0.2, 0.28, 0.4])
    assert played(path) == (5, [0, 2, 4])
    record(f"video:{path}", [None] * 3)
    assert played(path) == (5, [0, 1, 2])
    record(f"video:{path}", [3.0])
    assert played(path) == (10, [0])


def test_picture_shows_the_answer(tmp_path: Path) -> None:
    """Unknown places are marked, the thumbnail is of the match, the frame is not drawn upon."""
    (tmp_path / "a").mkdir()
    blue = np.full((48, 64, 3), (250, 10, 10), np.uint8)
    cv2.imwrite(str(tmp_path / "a" / "7.png"), blue)
    annotator = Annotator(tmp_path, FixRule(min_score=0.5))
    shown = frame(20)
    assert shown.image is not None
    before = shown.image.copy()
    known = annotator.draw(answer(0.9, image="a/7.png", known=True), shown)
    np.testing.assert_array_equal(shown.image, before)
    np.testing.assert_array_equal(known[:360], before)
    assert tuple(known[400, 2]) == GREEN
    assert tuple(known[400, -10]) == (250, 10, 10)
    strip = known[360:, 10:500]
    assert (strip == GREEN).all(2).any()
    uncalibrated = annotator.draw(answer(0.9, known=None), shown)
    assert not (uncalibrated[360:] == GREEN).all(2).any()
    assert not (uncalibrated[360:] == RED).all(2).any()
    for doubtful in (answer(0.9, known=False), answer(0.4), answer(None), UNREADABLE):
        drawn = annotator.draw(doubtful, shown)
        assert tuple(drawn[400, 2]) == RED
        assert not (drawn[360:] == GREEN).all(2).any()
        assert tuple(drawn[400, -10]) == (0, 0, 0)
    # Another size of frame, or none at all, stays on the same canvas.
    for other in (frame(1, (33, 57)), frame(1, (2000, 100)), Frame(1, "", None, 0, None, 0), None):
        assert annotator.draw(answer(), other).shape == known.shape
    assert Annotator().draw(answer(), frame(1, (1921, 1081))).shape == (720 + STRIP, 1280, 3)


@pytest.mark.parametrize("small_disk", ["1m"], indirect=True)
def test_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends with an error, and the video can be opened."""
    monkeypatch.setattr(video, "RESERVE_BYTES", 300 << 10)
    monkeypatch.setattr(video, "_LOOK", 1)
    noise = np.random.default_rng(0).integers(0, 256, (100, 36, 64, 3)).astype(np.uint8)

    def run() -> None:
        with open_sink(f"video:{small_disk}/out.mp4?fps=20") as sink:
            for i, image in enumerate(noise):
                sink.write(answer(frame=i, time=i / 20), Frame(i, "", image, 0, None, 0))

    with pytest.raises(OSError, match="No space left") as caught:
        run()
    part = small_disk / "out.part.mp4"
    assert caught.value.filename == str(part)
    assert part.stat().st_size > 1000
    assert cv2.VideoCapture(str(part)).read()[0]


def test_interrupted_run_keeps_the_older_video(tmp_path: Path) -> None:
    """The older video stays, and the part can be opened."""
    path = tmp_path / "out.mp4"
    path.write_bytes(b"older")

    with contextlib.suppress(KeyboardInterrupt), open_sink(f"video:{path}") as sink:
        sink.write(answer(time=0.0), frame(0))
        raise KeyboardInterrupt
    assert path.read_bytes() == b"older"
    assert played(tmp_path / "out.part.mp4")[1] == [0]


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("video:a.gif", "expected a name ending in .mp4"),
        ("video:a", "expected a name ending in .mp4"),
        ("video:a.mp4?fps=0", "fps=0 is not within 1 to 240"),
        ("video:a.mp4?images=/nowhere", "no folder at images=/nowhere"),
        ("video:a.mp4?speed=2", "no option 'speed'"),
        ("video:", "nothing after the colon"),
    ],
)
def test_wrong_options_are_refused(uri: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_sink(uri)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(OSError, match="x"):
        record(f"video:{tmp_path}/x/out.mp4", [0.0])


@pytest.mark.parametrize("name", ["12:00.mp4", "http:drive.mp4"])
def test_colons_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """FFmpeg takes what stands before one for a protocol, unless the path is absolute."""
    monkeypatch.chdir(tmp_path)
    record(f"video:{name}", [i / 10 for i in range(5)])
    assert played(tmp_path / name)[1] == list(range(5))
