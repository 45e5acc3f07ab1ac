"""Galleries tuned for early exits: operating point and confidence of each, from its own queries."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.folder import open_artifact, seal
from edgevpr.artifacts.generations import rollback
from edgevpr.artifacts.manifest import MANIFEST, Manifest, read_json, write_json
from edgevpr.artifacts.records import GalleryExit, GalleryRecord
from edgevpr.compile.gallery_updates import change
from edgevpr.compile.gallery_updates.retrain import retrain
from edgevpr.compile.gallery_updates.stats import stats
from edgevpr.compile.index import tune_exits
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.errors import CorruptArtifactError, UsageError
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.projection import l2_normalize

PLACES, VIEWS, DIM = 120, 3, 96
SPACE = f"boq-{DIM}-0123456789ab"
#: Noise of the queries of each exit: the earlier, the further from what the map says.
NOISE = {"L4": 0.26, "L8": 0.18, "": 0.11}
OPTIONS = IndexOptions(dim=48, factory="IVF24,PQ24x4fsr,Refine(SQ8)")
CENTRES = l2_normalize(np.random.default_rng(0).normal(size=(PLACES, DIM)))


def write(
    path: Path, noise: float, *, views: int, exit: str = "", role: Any = "query", model: str = "q",
    seed: int = 1,
) -> Path:  # fmt: skip
    """``views`` images of every place of a street, their descriptors off by ``noise``."""
    draw = np.random.default_rng(seed)
    place = np.repeat(np.arange(PLACES), views)
    table = ImageTable.build(
        [f"{role}-{i}.jpg" for i in range(len(place))],
        place=place,
        easting=500_000 + 60.0 * place,
        northing=np.full(len(place), 6_000_000.0),
        zone=np.full(len(place), 33),
        letter=["U"] * len(place),
    ).with_positions()
    vectors: NDArray[np.float64] = CENTRES[place] + draw.normal(scale=noise, size=(len(place), DIM))
    Features.write(
        path, l2_normalize(vectors), table, space=SPACE, model_digest=model,
        preprocess=Preprocess(16, 16), source="test", role=role, exit=exit,
    )  # fmt: skip
    return path


@dataclass(frozen=True)
class Street:
    root: Path
    gallery: Path
    record: GalleryRecord

    def queries(self, exit: str) -> Path:
        return self.root / f"queries{exit}"


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Street:
    """A map of 360 images; 480 queries by the full path and by two exits."""
    root = tmp_path_factory.mktemp("exits")
    write(root / "map", 0.05, views=VIEWS, role="gallery", model="g", seed=7)
    for name, noise in NOISE.items():
        write(root / f"queries{name}", noise, views=4, exit=name)
    asked = [root / f"queries{name}" for name in NOISE]
    record = build_gallery(root / "map", root / "g", queries=asked, options=OPTIONS)
    return Street(root, root / "g", record)


def timeless(exit: GalleryExit) -> list[Any]:
    """What no clock decided, as the choice among equally fast settings is."""
    return [exit.name, exit.exact_r1, exit.exact_r5, exit.tuning_queries, exit.without_positives]


def test_an_exit_gets_what_a_gallery_of_its_own_would(street: Street, tmp_path: Path) -> None:
    """Figures of an exit are those of its queries alone: as if they were the only ones there are.

    It would catch queries, exact answers, parameters or confidence of another path mixed in.
    """
    for found in street.record.exits:
        alone = write(tmp_path / f"as-full{found.name}", NOISE[found.name], views=4)
        of_one = build_gallery(
            street.root / "map", tmp_path / found.name, queries=alone, options=OPTIONS
        )
        assert (found.exact_r1, found.exact_r5) == (of_one.exact_r1, of_one.exact_r5)
        assert found.tuning_queries == of_one.tuning_queries == 480
        by_setting = {p.parameters: (p.exact_agreement, p.r1, p.r5) for p in of_one.points}
        shared = [p for p in found.points if p.parameters in by_setting]
        assert shared
        for p in shared:
            assert (p.exact_agreement, p.r1, p.r5) == by_setting[p.parameters]
        if found.chosen.parameters == of_one.chosen.parameters:
            assert of_one.confidence is not None
            own = msgspec.structs.replace(of_one.confidence, exit=found.name)
            assert found.confidence == own


def test_exits_differ_where_their_queries_do(street: Street) -> None:
    """Operating point and confidence of each path are its own.

    Measured at L4, L8 and full: exact R@1 80.4, 98.8 and 100, the chosen point agrees in 55, 66 and
    69 % (nprobe 24, 24 and 16), and 6, 59 and 99.8 % are known.
    """
    record = street.record
    assert [each.name for each in record.exits] == ["L4", "L8"]
    paths = [*((e.chosen, e.exact_r1, e.confidence) for e in record.exits)]
    paths.append((record.chosen, record.exact_r1, record.confidence))
    recalls = [exact_r1 for _, exact_r1, _ in paths]
    assert recalls == sorted(recalls)
    assert len(set(recalls)) == 3
    agreements = [chosen.exact_agreement for chosen, _, _ in paths]
    assert agreements[0] < agreements[1] - 4
    assert agreements[1] < agreements[2]
    coverages = [model.coverage for _, _, model in paths if model]
    assert coverages[0] < coverages[1] - 20 < coverages[2] - 40
    models = [model for _, _, model in paths]
    assert [m.exit for m in models if m] == ["L4", "L8", ""]
    assert len({(tuple(m.weights), m.intercept, m.threshold) for m in models if m}) == 3
    assert len({m.temperature for m in models if m}) > 1
    assert {m.model_digest for m in models if m} == {"q"}


def test_the_index_is_chosen_by_the_full_path(street: Street, tmp_path: Path) -> None:
    """Exits add to a gallery and change nothing else in it: not a byte of the index."""
    without = build_gallery(
        street.root / "map", tmp_path / "g", queries=street.queries(""), options=OPTIONS
    )
    assert without.exits == []
    for name in ("index.faiss", "projection.npy", "images.csv", "residuals.npy"):
        assert (tmp_path / "g" / name).read_bytes() == (street.gallery / name).read_bytes()
    assert (without.exact_r1, without.projected_r1) == (
        street.record.exact_r1,
        street.record.projected_r1,
    )


def test_goals_that_an_exit_misses_cost_no_gallery(street: Street, tmp_path: Path) -> None:
    """In 32 of 96 dimensions the exit L4 loses more than the full path, which decides."""
    said: list[str] = []
    record = build_gallery(
        street.root / "map",
        tmp_path / "g",
        queries=[street.queries(""), street.queries("L4")],
        options=IndexOptions(dim=32, kind="ivfpq", max_recall_drop=7.0),
        say=said.append,
    )
    assert record.exact_r1 is not None
    assert record.chosen.r1 is not None
    assert record.exact_r1 - record.chosen.r1 <= 7.0
    (found,) = record.exits
    assert found.exact_r1 is not None
    assert found.chosen.r1 is not None
    assert found.exact_r1 - found.chosen.r1 > 7.0
    assert found.chosen.exact_agreement == max(p.exact_agreement for p in found.points)
    assert any("not met at exit L4" in line for line in said)


def other_model(street: Street, to: Path) -> list[Path]:
    return [street.queries(""), write(to / "other", 0.2, views=1, exit="L4", model="another")]


def twice(street: Street, to: Path) -> list[Path]:
    again = write(to / "again", 0.2, views=1, exit="L4", seed=5)
    return [street.queries(""), street.queries("L4"), again]


def full_twice(street: Street, to: Path) -> list[Path]:
    return [street.queries(""), write(to / "again", 0.2, views=1, seed=5)]


def exits_alone(street: Street, to: Path) -> list[Path]:
    return [street.queries("L4"), street.queries("L8")]


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (other_model, "by another model than .* expected `queries` by the exits of one model"),
        (twice, "queriesL4 and .*again, both by the early exit L4, expected `queries` by each"),
        (full_twice, "both by the full path"),
        (exits_alone, "by the early exit L4, the early exit L8 alone, expected those by the full"),
    ],
)
def test_queries_that_do_not_go_together(
    street: Street, tmp_path: Path, queries: Callable[[Street, Path], list[Path]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_gallery(street.root / "map", tmp_path / "g", queries=queries(street, tmp_path))
    assert not (tmp_path / "g").exists()


def test_a_map_is_described_by_the_full_path(street: Street, tmp_path: Path) -> None:
    """By no verb that brings images into a gallery an exit's descriptors get there."""
    early = write(tmp_path / "early", 0.05, views=VIEWS, exit="L4", role="gallery", model="g")
    for features in (early, [street.root / "map", early]):
        with pytest.raises(UsageError, match="early exit L4, expected the full path"):
            build_gallery(features, tmp_path / "g")
    shutil.copytree(street.gallery, tmp_path / "map")
    with pytest.raises(UsageError, match="early exit L4"):
        change.add(tmp_path / "map", early)
    with pytest.raises(UsageError, match="early exit L4"):
        retrain(tmp_path / "map", [early])


def test_an_interrupted_run_measures_no_exit_again(
    street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And takes no figures of other queries for those of an exit."""
    measured: list[int] = []
    measure, fit = tune_exits.measure, tune_exits.fit_confidence

    def counting(*args: Any, **more: Any) -> Any:
        measured.append(len(args[1]))
        return measure(*args, **more)

    def interrupted(index: Any, parameters: str, queries: Features, *rest: Any, **more: Any) -> Any:
        if queries.record.exit == "L8":
            raise KeyboardInterrupt
        return fit(index, parameters, queries, *rest, **more)

    monkeypatch.setattr(tune_exits, "measure", counting)
    monkeypatch.setattr(tune_exits, "fit_confidence", interrupted)
    asked = [street.queries(name) for name in ("", "L4", "L8")]
    with pytest.raises(KeyboardInterrupt):
        build_gallery(street.root / "map", tmp_path / "g", queries=asked, options=OPTIONS)
    assert measured == [480, 480]
    measured.clear()
    monkeypatch.setattr(tune_exits, "fit_confidence", fit)
    newer = write(tmp_path / "newer", 0.22, views=3, exit="L4", seed=9)
    asked[1] = newer
    record = build_gallery(street.root / "map", tmp_path / "g", queries=asked, options=OPTIONS)
    assert measured == [360]  # of the exit L4, whose queries are others now
    assert [each.tuning_queries for each in record.exits] == [360, 480]
    assert timeless(record.exits[1]) == timeless(street.record.exits[1])


def test_changes_of_a_gallery_keep_its_exits(street: Street, tmp_path: Path) -> None:
    gallery = tmp_path / "g"
    shutil.copytree(street.gallery, gallery)
    new = write(tmp_path / "new", 0.05, views=1, role="gallery", model="g", seed=3)
    steps: dict[str, Callable[[], object]] = {
        "add": lambda: change.add(gallery, new, replace=True),
        "remove": lambda: change.remove(gallery, place=[0]),
        "compact": lambda: change.compact(gallery),
        "retrain": lambda: retrain(gallery, [street.root / "map", new]),
        "rollback": lambda: rollback(gallery),
    }
    for name, step in steps.items():
        step()
        record = open_artifact(gallery, "gallery").read("gallery.json", GalleryRecord)
        assert record.exits == street.record.exits, name
    shown = stats(gallery).exits
    assert [each.exit for each in shown] == ["L4", "L8", "full"]
    assert [each.r1 for each in shown] == [
        *(each.chosen.r1 for each in record.exits), record.chosen.r1,
    ]  # fmt: skip


def swapped(record: GalleryRecord) -> GalleryRecord:
    first, second = record.exits
    return msgspec.structs.replace(
        record,
        exits=[
            msgspec.structs.replace(first, confidence=second.confidence),
            msgspec.structs.replace(second, confidence=first.confidence),
        ],
    )


def of_the_full_path(record: GalleryRecord) -> GalleryRecord:
    first = msgspec.structs.replace(record.exits[0], confidence=record.confidence)
    return msgspec.structs.replace(record, exits=[first])


def for_the_full_path(record: GalleryRecord) -> GalleryRecord:
    return msgspec.structs.replace(record, confidence=record.exits[0].confidence)


def another_network(record: GalleryRecord) -> GalleryRecord:
    return msgspec.structs.replace(
        record, exits=[msgspec.structs.replace(record.exits[0], model_digest="another")]
    )


def named(*names: str) -> Callable[[GalleryRecord], GalleryRecord]:
    def change(record: GalleryRecord) -> GalleryRecord:
        first = msgspec.structs.replace(record.exits[0], confidence=None)
        return msgspec.structs.replace(
            record, exits=[msgspec.structs.replace(first, name=name) for name in names]
        )

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (swapped, "confidence model of another exit at L4"),
        (of_the_full_path, "confidence model of another exit at L4"),
        (for_the_full_path, "confidence model of another exit at full"),
        (another_network, "confidence of another network at exit L4"),
        (named("L4", "L4"), "an exit twice"),
        (named("full"), "an early exit named 'full'"),
        (named(""), "an early exit named ''"),
        (named("../L4"), "an early exit named"),
    ],
)
def test_a_confidence_at_another_exit_is_refused(
    street: Street, tmp_path: Path, damage: Callable[[GalleryRecord], GalleryRecord], message: str
) -> None:
    """Whoever opens a gallery gets no confidence that was fitted on scores of another exit."""
    gallery = tmp_path / "g"
    shutil.copytree(street.gallery, gallery)
    write_json(gallery / "gallery.json", damage(street.record))
    about = read_json(gallery / MANIFEST, Manifest)
    (gallery / MANIFEST).unlink()
    seal(gallery, "gallery", space=about.space)
    with pytest.raises(CorruptArtifactError, match=message):
        open_artifact(gallery, "gallery")


def test_verbs(street: Street, tmp_path: Path) -> None:
    """``--queries`` three times, a row for each path; ``gallery stats`` shows them again."""
    args = [sys.executable, "-m", "edgevpr"]
    given = [word for name in NOISE for word in ("--queries", str(street.queries(name)))]
    out = tmp_path / "g"
    done = subprocess.run(
        [*args, "index", str(street.root / "map"), "-o", str(out), "--factory", "Flat", *given],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout + done.stderr
    assert "early exits: each is searched with its own parameters" in lines
    assert all(any(line.split()[:1] == [name] for line in lines.splitlines()) for name in
               ("L4", "L8", "full"))  # fmt: skip
    done = subprocess.run(
        [*args, "gallery", "stats", str(out), "--json"], capture_output=True, text=True, timeout=120
    )
    assert [each["exit"] for each in json.loads(done.stdout)["exits"]] == ["L4", "L8", "full"]
    done = subprocess.run(
        [*args, "index", str(street.root / "map"), "-o", str(out), *given[:4]],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "pass --queries once more" in done.stderr
