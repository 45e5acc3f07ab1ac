"""A new bundle or gallery under a running loop: taken over whole, or refused in one line."""

import itertools
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgevpr.compile.gallery_updates.change import add
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.errors import UsageError
from edgevpr.runtime import (
    Answer,
    Frame,
    FrameError,
    Limits,
    Localizer,
    LocalizerThread,
    Match,
    RunSummary,
    StageTimes,
    Swap,
    open_bundle,
    open_localizer,
    run,
    swap,
)
from edgevpr.runtime.shadow import answers_agree

from .build import PLACES, SPACE, VIEWS, World, describe, place_image, write_bundle, write_features

OTHER = "boq-48-ba9876543210"
#: Seconds after which a run that should have swapped long ago ends.
PATIENCE_S = 60


class Drive:
    """Frames of place after place until ``done`` says so; calls ``at[n]`` before frame n."""

    live = False
    drops = 0
    remark = ""

    def __init__(self, done: Callable[[], bool], at: dict[int, Callable[[], object]]) -> None:
        self._done, self._at = done, at

    def __enter__(self) -> "Drive":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def frames(self, stop: threading.Event) -> Generator[Frame, None, None]:
        more = 8
        end = time.monotonic() + PATIENCE_S
        for i in itertools.count():
            assert time.monotonic() < end, "no line in time"
            self._at.get(i, lambda: None)()
            yield Frame(i, "drive", place_image(i % PLACES), time.monotonic(), None, 0.0)
            more -= self._done()
            if not more:
                return


class Kept:
    def __init__(self) -> None:
        self.all: list[Answer] = []

    def write(self, answer: Answer | FrameError, frame: Frame) -> None:
        assert isinstance(answer, Answer)
        self.all.append(answer)


class Pair:
    """A bundle and a gallery of one's own, to be replaced; says which thread used which runner."""

    def __init__(self, world: World, root: Path) -> None:
        self.world, self.bundle, self.gallery = world, root / "bundle", root / "gallery"
        shutil.copytree(world.bundle, self.bundle)
        shutil.copytree(world.gallery, self.gallery)
        self.root = root
        self.lines: list[str] = []
        self.threads: list[dict[str, int]] = []
        self.slow_s = 0.0
        self.while_opening: Callable[[], None] = lambda: None

    def open(self) -> Localizer:
        bundle = open_bundle(self.bundle)
        self.while_opening()
        localizer = open_localizer(bundle, self.gallery, threads=1)
        runner = localizer.runner
        seen: dict[str, int] = {}
        self.threads.append(seen)
        slow_s = self.slow_s if len(self.threads) > 1 else 0.0
        infer = runner.infer

        class Watched:
            device = runner.device

            def __enter__(self):
                seen["entered"] = threading.get_ident()
                return self

            def __exit__(self, *_: object) -> None:
                seen["left"] = threading.get_ident()

            def infer(self, images):
                assert threading.get_ident() == seen["entered"]
                time.sleep(slow_s)
                return infer(images)

        localizer.runner = Watched()
        return localizer

    def swap(self, watch: bool = False, **limits: float) -> Swap:
        limits = {"shadow": 5, "max_slowdown": 1000.0, **limits}
        return Swap(
            self.open,
            [self.bundle, self.gallery],
            self.lines.append,
            limits=Limits(**limits),
            watch=watch,
        )

    def new_gallery(self, *, space: str = SPACE, name: str = "new", start_m: float = 5e5) -> None:
        """The same places seen from the same descriptors, under another name."""
        views = [place_image(p, v) for p in range(PLACES) for v in range(1, VIEWS + 1)]
        features = self.root / f"features-{name}"
        descriptors = describe(views, self.world.bundle)
        write_features(features, descriptors, space, name=name, start_m=start_m)
        build_gallery(features, self.gallery)

    def drive(
        self, swapper: Swap, at: dict[int, Callable[[], object]], lines: int = 1
    ) -> tuple[RunSummary, list[str]]:
        """Run until there are so many lines, and a little on: summary, and which map answered."""
        sink = Kept()
        with (
            Drive(lambda: len(self.lines) >= lines, at) as source,
            LocalizerThread(self.open) as worker,
        ):
            summary = run(source, worker, sink, swap=swapper)
        # Nothing lost, repeated or wrong, whatever happened to the maps meanwhile.
        assert [a.frame for a in sink.all] == list(range(len(sink.all)))
        assert [a.place for a in sink.all] == [a.frame % PLACES for a in sink.all]
        assert summary.frames == len(sink.all)
        return summary, [a.top[0].image.partition("-")[0] for a in sink.all]


@pytest.fixture
def pair(world: World, tmp_path: Path) -> Pair:
    return Pair(world, tmp_path)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "engine":
            thread.join(5)
            assert not thread.is_alive()


def test_a_new_gallery_takes_over_between_two_frames(pair: Pair) -> None:
    """Every frame is answered once, by one map; each runner is used and closed by its own
    thread."""
    swapper = pair.swap()

    def replace() -> None:
        pair.new_gallery()
        swapper.request()

    summary, maps = pair.drive(swapper, {10: replace})
    assert summary.swaps == 1
    change = maps.index("new")
    assert change > 10
    assert set(maps[:change]) == {"place"}
    assert set(maps[change:]) == {"new"}
    (line,) = pair.lines
    assert "swapped to the new" in line
    assert "100 % of 5 frames" in line
    first, second = pair.threads
    assert first["entered"] == first["left"] != threading.get_ident()
    assert second["entered"] == second["left"] != first["entered"]


def test_bundle_and_gallery_of_a_new_space_arrive_together(pair: Pair) -> None:
    """Half of a new pair is refused, and the whole taken once it is there."""
    swapper = pair.swap()

    def bundle() -> None:
        write_bundle(pair.bundle, space=OTHER)
        swapper.request()

    def gallery() -> None:
        pair.new_gallery(space=OTHER)
        swapper.request()

    at = {3: bundle}
    after = pair.lines.append

    def on_line(line: str) -> None:
        after(line)
        if len(pair.lines) == 1:
            gallery()

    swapper._notify = on_line
    summary, maps = pair.drive(swapper, at, lines=2)
    assert summary.swaps == 1
    assert maps[-1] == "new"
    refused, swapped = pair.lines
    assert refused.startswith("kept the old")
    assert OTHER in refused
    assert swapped.startswith("swapped")


def test_one_that_disagrees_is_rolled_back(pair: Pair) -> None:
    swapper = pair.swap()

    def replace() -> None:
        pair.new_gallery(start_m=505_000)
        swapper.request()

    summary, maps = pair.drive(swapper, {2: replace})
    assert summary.swaps == 0
    assert set(maps) == {"place"}
    (line,) = pair.lines
    assert line.startswith("kept the old")
    assert "0 % of 5 frames (limit 80 %)" in line


def test_one_that_is_slower_is_rolled_back(pair: Pair) -> None:
    swapper = pair.swap(max_slowdown=3.0)
    pair.slow_s = 0.05

    def replace() -> None:
        pair.new_gallery()
        swapper.request()

    summary, maps = pair.drive(swapper, {2: replace})
    assert summary.swaps == 0
    assert set(maps) == {"place"}
    assert "times the work a frame (limit 3.00)" in pair.lines[0]


@pytest.mark.parametrize("what", ["truncated", "nan", "gone"])
def test_a_broken_one_is_one_line(pair: Pair, what: str) -> None:
    """A half-copied artifact, or an engine that gives NaN, does not end the run."""
    swapper = pair.swap()

    def replace() -> None:
        if what == "truncated":
            pair.new_gallery()
            index = pair.gallery / "index.faiss"
            index.write_bytes(index.read_bytes()[:-10])
        elif what == "nan":
            write_bundle(pair.bundle, nan=True)
        else:
            shutil.rmtree(pair.gallery)
        swapper.request()

    summary, maps = pair.drive(swapper, {2: replace})
    assert summary.swaps == 0
    assert set(maps) == {"place"}
    (line,) = pair.lines
    assert line.startswith("kept the old")
    assert "\n" not in line
    assert {"truncated": "index.faiss", "nan": "0 % of 5", "gone": "nothing at"}[what] in line


def test_watching_sees_it_unasked(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It swaps once, and not to what already runs."""
    monkeypatch.setattr(swap, "POLL_S", 0.0)
    summary, maps = pair.drive(pair.swap(watch=True), {20: pair.new_gallery})
    assert summary.swaps == 1
    assert len(pair.threads) == 2
    assert set(maps[:20]) == {"place"}
    assert maps[-1] == "new"


def test_replaced_while_it_was_being_opened(pair: Pair) -> None:
    """Bundle and gallery are of the same moment."""
    swapper = pair.swap()

    def again() -> None:
        pair.while_opening = lambda: None
        pair.new_gallery(name="newest", space=OTHER)
        write_bundle(pair.bundle, space=OTHER)

    def replace() -> None:
        pair.new_gallery()
        pair.while_opening = again
        swapper.request()

    summary, maps = pair.drive(swapper, {2: replace})
    assert summary.swaps == 1
    assert maps[-1] == "newest"


def test_images_added_to_the_gallery_that_runs(pair: Pair) -> None:
    """A watching run swaps after ``edgevpr gallery add``."""
    swapper = pair.swap()
    features = pair.root / "added"
    seen = np.repeat(describe([place_image(p) for p in range(PLACES)], pair.bundle), VIEWS, axis=0)
    write_features(features, seen, name="added")

    def add_images() -> None:
        add(pair.gallery, features)
        swapper.request()

    summary, maps = pair.drive(swapper, {5: add_images})
    assert summary.swaps == 1
    assert set(maps[:5]) == {"place"}
    assert maps[-1] == "added"


def test_a_request_without_anything_new(pair: Pair) -> None:
    swapper = pair.swap()
    summary, _ = pair.drive(swapper, {2: swapper.request})
    assert summary.swaps == 0
    assert len(pair.threads) == 1
    assert "nothing to swap" in pair.lines[0]


def test_the_run_ends_before_the_comparison(pair: Pair) -> None:
    """A comparison cut short is reported as not won."""
    swapper = pair.swap(shadow=1_000_000)

    def replace() -> None:
        pair.new_gallery()
        swapper.request()

    sink = Kept()
    with Drive(lambda: len(pair.threads) == 2, {2: replace}) as source:
        summary = run(source, pair.open(), sink, swap=swapper)
    assert summary.swaps == 0
    assert "before the comparison did" in pair.lines[0]


def answer(place: int | None, lat: float | None = None, known: bool | None = None) -> Answer:
    match = Match(place, lat, None if lat is None else 7.0, 0.9, f"{place}.jpg")
    times = StageTimes(0.0, 0.0, 1.0, 0.0, 1.0)
    return Answer(0, "s", None, 1.0, place, lat, 7.0, 0.9, [match], times, known=known)


def test_which_answers_are_the_same_place() -> None:
    """By positions where both have one, else by place id."""
    metre = 1 / 111_195
    assert answers_agree(answer(1, 50.0), answer(2, 50.0 + 24 * metre), 25)
    assert not answers_agree(answer(1, 50.0), answer(1, 50.0 + 26 * metre), 25)
    assert answers_agree(answer(1), answer(1), 25)
    assert not answers_agree(answer(1), answer(2), 25)
    assert answers_agree(answer(None), answer(None), 25)
    nowhere, error = answer(1, known=False), FrameError(0, "s", None, "NaN")
    assert answers_agree(nowhere, answer(2, known=False), 25)
    assert not answers_agree(nowhere, answer(1), 25)
    assert answers_agree(nowhere, error, 25)
    assert not answers_agree(answer(1), error, 25)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"shadow": -1}, "shadow"),
        ({"min_agreement": 800}, "min_agreement"),
        ({"max_slowdown": 0}, "max_slowdown"),
    ],
)
def test_limits_out_of_range_are_refused_by_name(limits: dict[str, float], name: str) -> None:
    with pytest.raises(UsageError, match=f"found `{name}`"):
        Limits(**limits)  # type: ignore[arg-type]
