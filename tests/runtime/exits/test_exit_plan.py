"""Localizers of bundles with early exits: answers, confidences, parameters, what is refused."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import write_json
from edgevpr.artifacts.records import (
    BundleRecord,
    ConfidenceModel,
    GalleryExit,
    GalleryRecord,
)
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.errors import DataError, UsageError
from edgevpr.runtime import (
    Answer,
    Frame,
    FrameError,
    Limits,
    Localizer,
    LocalizerThread,
    RunSummary,
    Swap,
    open_localizer,
    run,
)

from ..anytime import EXITS, write_anytime_bundle
from ..build import PLACES, SPACE, World, frame, place_image, write_bundle


def confidence(intercept: float, *, temperature: float = 0.05) -> ConfidenceModel:
    """One that gives the same confidence for everything: 1 / (1 + exp(-intercept))."""
    return ConfidenceModel(
        method="logistic",
        weights=[0.0, 0.0, 0.0],
        intercept=intercept,
        threshold=0.5,
        known_precision=99.0,
        radius_m=25.0,
        temperature=temperature,
        runners_up=0.3,
        model_digest="m",
        mapped=10,
        unmapped=10,
        r_at_100p=1.0,
        coverage=1.0,
        precision_known=99.0,
        false_known=0.0,
        calibration_error=0.0,
        provenance="measured",
    )


def with_exits(
    gallery: Path,
    out: Path,
    models: dict[str, ConfidenceModel | None],
    parameters: dict[str, str] | None = None,
    digest: str = "m",
) -> Path:
    """A copy of a gallery that keeps so much for each exit; "full" is the record's own."""
    opened = open_artifact(gallery, "gallery")
    record = opened.read("gallery.json", GalleryRecord)
    exits = [
        GalleryExit(
            name=name,
            model_digest=digest,
            chosen=msgspec.structs.replace(
                record.chosen, parameters=(parameters or {}).get(name, record.chosen.parameters)
            ),
            points=[],
            exact_r1=None,
            exact_r5=None,
            confidence=model and msgspec.structs.replace(model, exit=name),
        )
        for name, model in models.items()
        if name != "full"
    ]
    with write_artifact(out, "gallery", space=SPACE) as folder:
        for name in opened.manifest.files:
            if name != "gallery.json":
                shutil.copy(gallery / name, folder / name)
        full = msgspec.structs.replace(record, exits=exits, confidence=models.get("full"))
        write_json(folder / "gallery.json", full)
    return out


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_anytime_bundle(tmp_path_factory.mktemp("anytime") / "bundle")


@pytest.fixture
def judged(world: World, tmp_path: Path) -> Path:
    """Unsure at L4, sure at the other exits."""
    models = {"L4": confidence(-2.0), "L8": confidence(2.0), "full": confidence(3.0)}
    return with_exits(world.gallery, tmp_path / "judged", models)


def answers(localizer: Localizer, count: int = 5) -> list[Answer]:
    with localizer:
        return [
            localizer.locate(place_image(place), color="bgr", time=float(place))
            for place in range(count)
        ]


@pytest.mark.parametrize("exit", EXITS)
def test_every_exit_answers_against_the_same_map(world: World, bundle: Path, exit: str) -> None:
    found = answers(open_localizer(bundle, world.gallery, exit=exit, threads=1))
    assert [answer.place for answer in found] == list(range(5))
    assert {answer.exit for answer in found} == {exit}
    assert {answer.late for answer in found} == {msgspec.UNSET}


def test_the_whole_network_is_the_default(world: World, bundle: Path) -> None:
    """Scores are those of the bundle with one graph, within float32."""
    ours = answers(open_localizer(bundle, world.gallery, threads=1))
    theirs = answers(open_localizer(world.bundle, world.gallery, threads=1))
    assert {answer.exit for answer in ours} == {"full"}
    for a, b in zip(ours, theirs, strict=True):
        assert a.score == pytest.approx(b.score, abs=2e-5)


def test_bundles_without_exits_say_nothing_of_them(world: World) -> None:
    """Their lines are as they were."""
    (answer,) = answers(open_localizer(world.bundle, world.gallery, exit="full", threads=1), 1)
    assert not {"exit", "late"} & set(msgspec.to_builtins(answer))


def test_each_exit_has_its_own_confidence(bundle: Path, judged: Path) -> None:
    for exit, expected, known in (("L4", 0.1192, False), ("L8", 0.8808, True)):
        (answer,) = answers(open_localizer(bundle, judged, exit=exit, threads=1), 1)
        assert (answer.confidence, answer.known) == (expected, known)
    (answer,) = answers(open_localizer(bundle, judged, exit="L4", min_confidence=0.1, threads=1), 1)
    assert answer.known is True


def test_an_exit_without_a_model_gives_no_fix(world: World, bundle: Path, tmp_path: Path) -> None:
    """One sentence says so, unless answers are taken as they are; so it is for the model of
    another network."""
    models = {"L4": None, "full": confidence(3.0)}
    for number, digest in enumerate(("m", "other")):
        gallery = with_exits(world.gallery, tmp_path / f"g{number}", models, digest=digest)
        localizer = open_localizer(bundle, gallery, exit="L4", threads=1)
        plan = localizer.exits
        assert plan is not None
        (remark,) = plan.remarks(gallery)
        assert remark.startswith("no answer of the exit L4 will be a fix")
        assert "--exit L4" in remark
        assert plan.remarks(gallery, assume_known=True) == []
        (answer,) = answers(localizer, 1)
        assert (answer.confidence, answer.known) == (None, None)
    assert open_localizer(bundle, gallery, threads=1).exits.remarks(gallery) == []


@pytest.mark.parametrize(
    ("exit", "says"),
    [
        ("L6", r"found `exit` 'L6' .*expected one of L4, L8, full.*pass `exit` L4"),
        ("confidence:0.9", r"no confidence model of any exit"),
        ("deadline:0", "milliseconds above 0"),
    ],
)
def test_exits_that_cannot_be(world: World, bundle: Path, exit: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_localizer(bundle, world.gallery, exit=exit)


@pytest.mark.parametrize("exit", ["L4", "deadline:50", "confidence:0.9", "budget:x"])
def test_exits_of_a_bundle_without(world: World, exit: str) -> None:
    with pytest.raises(UsageError, match="which has no early exits, expected full"):
        open_localizer(world.bundle, world.gallery, exit=exit)


def test_min_confidence_without_any_model(world: World, bundle: Path) -> None:
    with pytest.raises(UsageError, match="no confidence model of the exits L4"):
        open_localizer(bundle, world.gallery, exit="L4", min_confidence=0.5)


def runs_of(localizer: Localizer) -> list[tuple[str, str]]:
    """Calls of ``start`` and ``at`` from now on."""
    calls: list[tuple[str, str]] = []
    runner: Any = localizer.runner
    start, at = runner.start, runner.at
    runner.start = lambda images: (calls.append(("start", "")), start(images))[1]
    runner.at = lambda exit: (calls.append(("at", exit)), at(exit))[1]
    return calls


def test_an_unsure_answer_goes_on_from_what_is_computed(bundle: Path, judged: Path) -> None:
    """One start, two exits; the answer is the deeper one's, and its times those of both."""
    with open_localizer(bundle, judged, exit="confidence:0.5", threads=1) as localizer:
        calls = runs_of(localizer)
        answer = localizer.locate(place_image(3), color="bgr")
        assert calls == [("start", ""), ("at", "L4"), ("at", "full")]
    assert (answer.exit, answer.place, answer.confidence) == ("full", 3, 0.9526)
    with open_localizer(bundle, judged, exit="confidence:0.1", threads=1) as localizer:
        assert localizer.locate(place_image(3), color="bgr").exit == "L4"


def test_a_deadline(bundle: Path, judged: Path) -> None:
    """One that nothing can keep is answered at the first exit, late; a long one at the last."""
    for ms, exit, late in ((1e-3, "L4", True), (1e6, "full", False)):
        (answer,) = answers(open_localizer(bundle, judged, exit=f"deadline:{ms}", threads=1), 1)
        assert (answer.exit, answer.late, answer.place) == (exit, late, 0)


def test_the_age_counts_of_a_camera_and_not_of_a_file(bundle: Path, judged: Path) -> None:
    """A frame that a file's decoder has held for long is no reason to hurry."""
    for live, exit in ((True, "L4"), (False, "full")):
        plan = open_localizer(bundle, judged, exit="deadline:5000", threads=1, live=live)
        with plan as localizer:
            given = frame(place_image(0))
            aged = Frame(0, "test", given.image, given.captured - 60.0, None, 0.0)
            answer = localizer.answer(aged)
            assert isinstance(answer, Answer)
            assert (answer.exit, answer.late) == (exit, live)


def test_a_budget_changes_the_exit_while_it_runs(
    bundle: Path, judged: Path, tmp_path: Path
) -> None:
    """The file's level is followed; when it vanishes the last one stays, which is said once."""
    level = tmp_path / "level"
    level.write_text("0.5")
    lines: list[str] = []
    localizer = open_localizer(
        bundle, judged, exit=f"budget:{level}", threads=1, notify=lines.append
    )
    budget: Any = localizer.exits.policy._budget
    with localizer:
        assert localizer.locate(place_image(0)).exit == "L4"
        level.write_text("0.8")
        budget.poll()
        assert localizer.locate(place_image(0)).exit == "L8"
        level.unlink()
        budget.poll(), budget.poll()
        assert [localizer.locate(place_image(0)).exit for _ in range(3)] == ["L8"] * 3
    assert len(lines) == 1
    assert "kept the budget at 0.8" in lines[0]
    assert not any(
        t.name == "budget" and not budget._closed.is_set() for t in threading.enumerate()
    )
    with pytest.raises(DataError, match="cannot be read"):
        open_localizer(bundle, judged, exit=f"budget:{level}")


def test_each_exit_searches_with_its_own_parameters(
    world: World, bundle: Path, tmp_path: Path
) -> None:
    """The index is set anew with the exit, near a point too; parameters given count for all."""
    build_gallery(world.features, tmp_path / "ivf", options=IndexOptions(factory="IVF4,Flat"))
    models = {"L4": confidence(-2.0), "full": confidence(2.0)}
    gallery = with_exits(tmp_path / "ivf", tmp_path / "g", models, {"L4": "nprobe=1"})
    opened = open_localizer(bundle, gallery, exit="confidence:0.5", threads=1)
    seen: list[int] = []
    with opened as localizer:
        import faiss

        index = faiss.downcast_index(localizer.gallery._index)
        while hasattr(index, "base_index") or hasattr(index, "index"):
            index = faiss.downcast_index(getattr(index, "base_index", None) or index.index)
        search = localizer.gallery.search
        localizer.gallery.search = lambda *a: (seen.append(index.nprobe), search(*a))[1]
        localizer.locate(place_image(0), color="bgr")
    full = localizer.gallery.record.chosen.parameters
    assert seen[0] == 1
    assert f"nprobe={seen[1]}" in full
    given = open_localizer(bundle, gallery, exit="L4", parameters="nprobe=3", threads=1)
    assert given.exits.parameters == {"L4": "nprobe=3"}
    bad = with_exits(tmp_path / "ivf", tmp_path / "bad", models, {"L4": "nprobes=1"})
    with pytest.raises(UsageError, match="nprobes=1"):
        open_localizer(bundle, bad, exit="L4")


def test_a_sequence_uses_the_temperature_of_the_exit(
    world: World, bundle: Path, tmp_path: Path
) -> None:
    """Similarities of L4 spread more: what they are worth is fitted for each exit."""
    models = {
        "L4": confidence(-2.0, temperature=0.2),
        "L8": confidence(2.0, temperature=0.1),
        "full": confidence(3.0, temperature=0.03),
    }
    gallery = with_exits(world.gallery, tmp_path / "g", models)
    seen = []
    level = tmp_path / "level"
    level.write_text("0.5")
    localizer = open_localizer(bundle, gallery, exit=f"budget:{level}", sequence=True, threads=1)
    assert localizer.sequence is not None
    with localizer:
        for text in ("0.5", "1", "0.8"):
            level.write_text(text)
            localizer.exits.policy._budget.poll()
            localizer.locate(place_image(0), color="bgr")
            seen.append(localizer.sequence.temperature)
    assert seen == [0.2, 0.03, 0.1]


class Drive:
    """Frames until the swap has said something."""

    live, drops, remark = False, 0, ""

    def __init__(self, lines: list[str], act: Any) -> None:
        self._lines, self._act = lines, act

    def frames(self, stop: threading.Event) -> Generator[Frame, None, None]:
        for number in range(20_000):
            if number == 5:
                self._act()
            yield Frame(number, "d", place_image(number % PLACES), 0.0, float(number), 0.0)
            if self._lines:
                return


class Kept:
    def __init__(self) -> None:
        self.all: list[Answer | FrameError] = []

    def write(self, answer: Answer | FrameError, frame: Frame | None = None) -> None:
        self.all.append(answer)


def test_a_new_bundle_without_the_exit_is_refused(world: World, tmp_path: Path) -> None:
    """The robot goes on with the old bundle, and one line says why."""
    path = write_anytime_bundle(tmp_path / "bundle")
    lines: list[str] = []

    def opening() -> Localizer:
        return open_localizer(path, world.gallery, exit="L8", threads=1)

    swap = Swap(opening, [path], lines.append, limits=Limits(shadow=0))

    def replace() -> None:
        shutil.rmtree(path)
        write_anytime_bundle(path, exits=("L4", "full"))
        swap.request()

    sink = Kept()
    with LocalizerThread(opening) as worker:
        summary = run(Drive(lines, replace), worker, sink, swap=swap)  # type: ignore[arg-type]
    assert len(lines) == 1
    assert lines[0].startswith("kept the old")
    assert "found `exit` 'L8'" in lines[0]
    assert "expected one of L4, full" in lines[0]
    assert summary.swaps == 0
    assert summary.exits == {"L8": len(sink.all)}
    assert [a.place for a in sink.all] == [a.frame % PLACES for a in sink.all]


def test_summary_in_words() -> None:
    """Exits and misses are named where there are any."""
    empty = RunSummary(10, 0, 0, 1.0, 10.0, None, None, None, None, False, [])
    assert "exit" not in empty.sentence()
    some = msgspec.structs.replace(empty, exits={"L4": 3, "full": 7}, misses=2)
    assert some.sentence().endswith("; answers by exit: L4 3, full 7; 2 after the deadline")
    assert not {"exits", "misses"} & set(msgspec.to_builtins(empty))


def test_run_on_the_command_line(world: World, bundle: Path, judged: Path, tmp_path: Path) -> None:
    """Lines, CSV and summary carry the exit; the flag is named where it is wrong."""
    command = [
        *(sys.executable, "-m", "edgevpr", "run", str(world.drive), "--threads", "1"),
        *("--bundle", str(bundle), "--gallery", str(judged)),
    ]
    out = tmp_path / "out.jsonl"
    more = ["--exit", "deadline:10000", "-o", str(out), "--json", "--sink"]
    done = subprocess.run(
        [*command, *more, f"csv:{tmp_path / 'a.csv'}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {(line["exit"], line["late"]) for line in lines} == {("full", False)}
    summary = json.loads(done.stdout)
    assert (summary["exits"], summary["misses"]) == ({"full": PLACES}, 0)
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert rows[0].endswith(",exit")
    assert {row.rpartition(",")[2] for row in rows[1:]} == {"full"}
    done = subprocess.run([*command, "--exit", "L6"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "found --exit 'L6'" in done.stderr


def test_a_bundle_with_one_way_has_no_plan(world: World, tmp_path: Path) -> None:
    """A bundle all of whose exits were dropped is one with a single graph."""
    path = write_bundle(tmp_path / "b")
    record = open_artifact(path, "bundle").read("bundle.json", BundleRecord)
    assert record.exits == []
    assert open_localizer(path, world.gallery).exits is None


def test_infer_goes_the_whole_path(world: World, bundle: Path) -> None:
    """What profiles and parity checks call, whatever answers frames."""
    image = np.zeros((1, 16, 16, 3), np.uint8)
    image[:, :8] = 200
    with open_localizer(bundle, world.gallery, exit="L4", threads=1) as localizer:
        runner: Any = localizer.runner
        whole = runner.infer(image)
        runner.start(image)
        np.testing.assert_array_equal(whole, runner.at("full"))
        assert not np.array_equal(whole, runner.at("L4"))
