"""The loop: every frame answered once and in order, errors counted, everything closed."""

import threading
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edgevpr.errors import NumericsError, UsageError
from edgevpr.places.table import ImageTable
from edgevpr.runtime import (
    Answer,
    Frame,
    FrameError,
    JsonLinesFile,
    Localizer,
    loop,
    open_localizer,
    open_source,
    run,
)
from edgevpr.runtime.localizer import MAX_BROKEN
from edgevpr.runtime.matches import distinct_places
from edgevpr.runtime.sources.frames import ImageFiles
from edgevpr.runtime.sources.live import LiveSource
from edgevpr.runtime.tally import KEPT, Tally

from .build import PLACES, PREPROCESS, FakeCamera, World, describe, frame, place_image, write_bundle


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.all: list[Answer | FrameError] = []

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        self.all.append(answer)


def localizer(world: World, bundle: Path | None = None, top: int = 5) -> Localizer:
    return open_localizer(bundle or world.bundle, world.gallery, threads=1, top=top)


@pytest.fixture
def decoding() -> None:
    """Nothing may be left of the threads that read ahead."""
    yield
    assert not [t for t in threading.enumerate() if t.name == "decode"]


@pytest.mark.usefixtures("decoding")
def test_a_drive_is_answered_in_order(world: World) -> None:
    """Every frame once, each with its own answer."""
    sink = Kept()
    with open_source(str(world.drive)) as source:
        summary = run(source, localizer(world), sink)
    answers = [a for a in sink.all if isinstance(a, Answer)]
    assert [a.frame for a in answers] == list(range(PLACES))
    assert [a.place for a in answers] == list(range(PLACES))
    assert (summary.frames, summary.errors, summary.drops) == (PLACES, 0, 0)
    assert not summary.interrupted
    for a in answers:
        assert len(a.top) == 5
        assert len({m.place for m in a.top}) == 5
        assert [m.score for m in a.top] == sorted((m.score for m in a.top), reverse=True)
        assert (a.place, a.lat, a.lon, a.score) == (
            a.top[0].place,
            a.top[0].lat,
            a.top[0].lon,
            a.top[0].score,
        )
        ms = a.ms
        assert ms.total == pytest.approx(
            ms.capture + ms.preprocess + ms.engine + ms.search, abs=0.01
        )


def test_the_engine_sees_what_training_saw(world: World) -> None:
    """RGB, resized as the spec says."""
    image = np.random.default_rng(3).integers(0, 256, (37, 53, 3)).astype(np.uint8)
    seen = []
    one = localizer(world)
    infer = one.runner.infer
    one.runner.infer = lambda images: seen.append(images.copy()) or infer(images)
    with one:
        seen.clear()
        one.answer(frame(image))
    rgb = PREPROCESS.resize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    np.testing.assert_array_equal(seen[0][0], rgb)


@pytest.mark.usefixtures("decoding")
def test_unreadable_frames_do_not_end_the_run(world: World, tmp_path: Path) -> None:
    for place in range(6):
        cv2.imwrite(str(tmp_path / f"{place}.jpg"), place_image(place))
    whole = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(whole[:100])
    sink = Kept()
    with open_source(str(tmp_path)) as source:
        summary = run(source, localizer(world), sink)
    assert (summary.frames, summary.errors) == (6, 1)
    assert [getattr(a, "place", None) for a in sink.all] == [0, 1, 2, None, 4, 5]
    error = sink.all[3]
    assert isinstance(error, FrameError)
    assert "3.jpg" in error.error


@pytest.mark.usefixtures("decoding")
def test_limit_and_stop(world: World) -> None:
    """A limit reads no frame more; a stop answers the decoded frames and counts as interrupted."""
    sink = Kept()
    with open_source(str(world.drive)) as source:
        summary = run(source, localizer(world), sink, limit=7)
    assert len(sink.all) == summary.frames == 7
    assert not summary.interrupted

    stop = threading.Event()

    class Stopping(Kept):
        def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
            super().write(answer)
            stop.set()

    stopping = Stopping()
    with open_source(str(world.drive)) as source:
        summary = run(source, localizer(world), stopping, stop=stop)
    assert summary.interrupted
    assert 1 <= summary.frames <= 8  # what was decoded ahead, answered in order
    assert [a.frame for a in stopping.all] == list(range(summary.frames))


@pytest.mark.usefixtures("decoding")
@pytest.mark.parametrize("error", [BrokenPipeError, KeyboardInterrupt])
def test_a_failing_sink_closes_everything(world: World, error: type[BaseException]) -> None:
    class Failing:
        def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
            raise error

    with open_source(str(world.drive)) as source, pytest.raises(error):
        run(source, localizer(world), Failing())


@pytest.mark.usefixtures("decoding")
def test_an_error_while_decoding_reaches_the_caller(world: World) -> None:
    class Broken(ImageFiles):
        def frames(self, stop: threading.Event):
            yield from (f for f in super().frames(stop) if f.id < 3)
            raise MemoryError("decoder")

    sink = Kept()
    with Broken(sorted(world.drive.iterdir())) as source, pytest.raises(MemoryError):
        run(source, localizer(world), sink)
    assert len(sink.all) == 3


class Watched(Localizer):
    """Counts the frames it has begun."""

    def __init__(self, one: Localizer) -> None:
        super().__init__(one.runner, one.gallery, one.preprocess)
        self.begun = 0
        self.changed = threading.Condition()

    def answer(self, frame: Frame) -> Answer | FrameError:
        with self.changed:
            self.begun += 1
            self.changed.notify()
        return super().answer(frame)


@pytest.mark.usefixtures("decoding")
def test_files_overlap_and_are_held_back(world: World) -> None:
    """The engine works while a sink writes, a bounded number of frames ahead."""
    one, decoded = Watched(localizer(world)), []
    most = loop.DECODED_AHEAD + loop.SUBMITTED_AHEAD + 2

    class Counting(ImageFiles):
        def frames(self, stop: threading.Event):
            for f in super().frames(stop):
                decoded.append(f.id)
                yield f

    class Slow(Kept):
        def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
            super().write(answer, frame)
            count = len(self.all)
            with one.changed:
                assert one.changed.wait_for(lambda: one.begun > min(count, PLACES - 1), 60)
            assert len(decoded) <= count + most

    with Counting(sorted(world.drive.iterdir())) as source:
        run(source, one, Slow())
    assert decoded == list(range(PLACES))


def test_times_of_the_last_answers(world: World) -> None:
    """The summary is of the last answers, in memory of fixed size."""
    with localizer(world) as opened:
        answer = opened.answer(frame(place_image(1)))
    tally = Tally()
    for ms in (100.0,) * 10 + (1.0, 3.0) * (KEPT // 2):
        times = msgspec.structs.replace(answer.ms, engine=ms)
        tally.add(msgspec.structs.replace(answer, ms=times))
    tally.add(FrameError(0, "s", None, "bad"))
    with open_source(str(world.drive)) as source:
        summary = tally.summary(source, interrupted=False, swaps=0)
    assert (summary.frames, summary.errors) == (KEPT + 11, 1)
    assert (summary.engine_ms.p50, summary.engine_ms.p95) == (2.0, 3.0)


def test_a_cameras_next_frame_waits_for_the_sink(world: World, camera: FakeCamera) -> None:
    one = Watched(localizer(world))

    class Slow(Kept):
        def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
            super().write(answer, frame)
            camera.give(3) if len(self.all) < 4 else camera.unplug()
            assert one.begun == len(self.all)

    sink = Slow()
    with LiveSource(camera, "cam") as source:
        camera.give(1)
        run(source, one, sink)
    assert [a.frame for a in sink.all] == [0, 3, 6, 9]


def test_nan_from_the_engine_costs_its_frame(world: World) -> None:
    """The frame is an error, the run goes on, and the count starts anew after a good frame."""
    broken = {3, *range(10, 10 + MAX_BROKEN - 1), 25}
    opened = localizer(world)
    infer, calls = opened.runner.infer, iter(range(-3, 1000))  # three warm up

    def sometimes(images: np.ndarray) -> np.ndarray:
        return infer(images) * (np.nan if next(calls) in broken else 1)

    opened.runner.infer = sometimes  # type: ignore[method-assign]
    sink = Kept()
    with open_source(str(world.drive)) as source:
        summary = run(source, opened, sink)
    lost = {a.frame for a in sink.all if isinstance(a, FrameError)}
    assert lost == broken
    assert {a.frame for a in sink.all if isinstance(a, Answer) and a.place == a.frame} == set(
        range(PLACES)
    ) - broken
    assert (summary.frames, summary.errors) == (PLACES, len(broken))
    assert "NaN" in next(a.error for a in sink.all if isinstance(a, FrameError))


def test_nan_throughout_ends_the_run(world: World, tmp_path: Path) -> None:
    broken = write_bundle(tmp_path / "b", nan=True)
    sink = Kept()
    with open_source(str(world.drive)) as source, pytest.raises(NumericsError):
        run(source, localizer(world, broken), sink)
    assert len(sink.all) == MAX_BROKEN - 1


def test_live_source_drops_while_the_engine_works(world: World, camera: FakeCamera) -> None:
    """Newest frames are answered, the others counted."""

    class Slow(Kept):
        """Four more frames come while each answer is made; after three, the camera goes."""

        def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
            super().write(answer)
            camera.give(4) if len(self.all) < 3 else camera.unplug()

    sink = Slow()
    with LiveSource(camera, "cam") as source:
        camera.give(2)
        summary = run(source, localizer(world), sink)
    assert [a.frame for a in sink.all] == [1, 5, 9]
    assert summary.drops == 7
    assert not summary.interrupted
    assert summary.remarks
    assert camera.released.wait(5)


def test_every_place_is_one_match() -> None:
    """Views of one place are one match, and rows of -1 none."""
    images = ImageTable.build(
        [f"{i}.jpg" for i in range(6)], place=[4, 4, -1, -1, 9, 9], lat=[1, 2, 3, 4, 5, np.nan]
    )
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, -3e38], np.float32)
    rows = np.array([1, 0, 2, 3, 5, 4, -1])
    found = distinct_places(scores, rows, images, top=5)
    assert [(m.place, m.image) for m in found] == [
        (4, "1.jpg"),
        (None, "2.jpg"),
        (None, "3.jpg"),
        (9, "5.jpg"),
    ]
    assert found[3].lat is None
    assert found[0].lat == 2.0
    assert [m.image for m in distinct_places(scores, rows, images, top=2)] == ["1.jpg", "2.jpg"]
    nothing = distinct_places(scores[-1:], rows[-1:], images, top=5)
    assert nothing == []


def test_more_places_than_the_map_has(world: World) -> None:
    with localizer(world, top=500) as opened:
        answer = opened.answer(frame(place_image(3)))
    assert answer.place == 3
    assert len(answer.top) <= PLACES
    with pytest.raises(UsageError, match="`top` 0"):
        localizer(world, top=0)


def test_file_sink_appears_when_complete(world: World, tmp_path: Path) -> None:
    """A failed run leaves the older file."""
    with localizer(world) as opened:
        answer = opened.answer(frame(place_image(1)))
    out = tmp_path / "deep" / "out.jsonl"
    with JsonLinesFile(out) as sink:
        sink.write(answer)
        assert not out.exists()
        assert msgspec.json.decode(sink.part.read_bytes(), type=Answer) == answer
        sink.complete = True
    assert msgspec.json.decode(out.read_bytes(), type=Answer) == answer
    assert not sink.part.exists()

    def fails() -> None:
        with JsonLinesFile(out) as again:
            again.complete = True
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert sink.part.read_bytes() == b""
    assert out.stat().st_size > 0


def test_scores_are_those_of_the_descriptors(world: World) -> None:
    """Also after the input buffer is reused."""
    with localizer(world) as one:
        answers = [one.answer(frame(place_image(p))) for p in (5, 6, 5)]
    query = describe([place_image(5)], world.bundle)[0]
    views = describe([place_image(5, v) for v in (1, 2, 3)], world.bundle)
    assert answers[0].score == pytest.approx(float((views @ query).max()), abs=2e-3)
    assert answers[0].top == answers[2].top
