"""Profiles of a real bundle and a real gallery, measured end to end."""

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.records import ProfileRecord
from edgevpr.cli import profile as profile_verb
from edgevpr.cli import report as report_verb
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.data import format_utm_name
from edgevpr.errors import DataError, MissingExtraError, SpaceMismatchError, UsageError
from edgevpr.places.table import to_latlon
from edgevpr.preprocess import Preprocess
from edgevpr.profiles.configuration import (
    Configuration,
    Searched,
    closing_row,
    measure_configuration,
)
from edgevpr.profiles.labelled_frames import Frames, read_frames, timed_subset
from edgevpr.profiles.measure import ExactMap, open_configurations, profile, write_profile
from edgevpr.profiles.report import render_report
from edgevpr.runtime.engines.anytime_onnx import AnytimeOnnxRunner
from edgevpr.runtime.open import open_bundle
from tests.runtime.anytime import SHARES, write_anytime_bundle
from tests.runtime.build import (
    DIM,
    PLACES,
    VIEWS,
    World,
    describe,
    place_image,
    write_bundle,
    write_features,
)
from tests.runtime.exits.test_exit_plan import confidence, with_exits

QUERIES = 12
STAGES = ["decode", "preprocess", "engine", "search", "end_to_end"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """40 places, 3 views each in the map; 12 queries of which the last shows a place far away."""
    root = tmp_path_factory.mktemp("profile")
    bundle = write_bundle(root / "bundle")
    views = [place_image(p, v) for p in range(PLACES) for v in range(1, VIEWS + 1)]
    features = write_features(root / "features", describe(views, bundle))
    build_gallery(features, root / "gallery", options=IndexOptions(dim=16))
    queries = root / "queries"
    queries.mkdir()
    for place in range(QUERIES):
        east = 500_000 + 100.0 * place + (0 if place < QUERIES - 1 else 50_000)
        lat, lon = to_latlon([east + 4], [6_000_003.0], [33], ["U"])
        name = format_utm_name(east + 4, 6_000_003.0, 33, "U", lat[0], lon[0], ext=".png")
        cv2.imwrite(str(queries / name), place_image(place))
    return World(root, bundle, features, root / "gallery", queries)


def test_labelled_queries_give_latency_and_recall(world: World) -> None:
    """Every timed sample is kept; recall is over all frames, with queries without positives
    counted."""
    record = profile(
        world.bundle,
        world.gallery,
        world.drive,
        features=world.features,
        exact_name="flat",
        count=5,
        warmup=2,
        threads=1,
    )
    first, exact = record.rows
    assert [first.configuration, exact.configuration] == ["cpu-fp32", "flat"]
    assert list(first.samples_ms) == STAGES
    assert {len(values) for row in record.rows for values in row.samples_ms.values()} == {5}
    assert (record.frames, record.warmup) == (5, 2)
    assert (record.queries, record.without_positives) == (QUERIES, 1)
    assert record.database == PLACES * VIEWS
    assert (first.r1, exact.r1, exact.r5) == (100.0, 100.0, 100.0)
    assert exact.bytes_per_image == 4 * DIM
    assert first.bytes_per_image != exact.bytes_per_image
    assert first.engine_ms_p50 == pytest.approx(np.percentile(first.samples_ms["engine"], 50))
    assert first.end_to_end_ms_p95 >= first.end_to_end_ms_p50 >= first.engine_ms_p50 > 0
    assert {row.provenance for row in record.rows} == {"measured"}
    assert record.device.threads == {**record.device.threads, "engine": "1", "faiss": "1"}


def test_unlabelled_frames_have_no_recall(world: World, tmp_path: Path) -> None:
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), place_image(i))
    record = profile(world.bundle, world.gallery, tmp_path, count=0, warmup=0)
    assert record.rows[0].r1 is None
    assert (record.queries, record.frames) == (0, 3)


def test_video_is_measured_without_decoding(world: World, tmp_path: Path) -> None:
    """Frames of a video are read in order and in RGB."""
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for i in range(8):
        writer.write(place_image(i))
    writer.release()
    frames = read_frames(path, limit=6)
    assert len(frames.frames) == 6
    first = np.asarray(frames.frames[0])
    assert np.abs(first[..., ::-1].astype(int) - place_image(0)).mean() < 12
    record = profile(world.bundle, world.gallery, path, count=6, warmup=1)
    assert record.frames == 6
    assert "decode" not in record.rows[0].samples_ms


def test_exact_map_ranks_like_numpy(world: World) -> None:
    flat = ExactMap(world.features)
    descriptors = np.asarray(flat.features.descriptors, np.float32)
    found = flat.search(descriptors[[7, 50]])
    expected = np.argsort(-(descriptors[[7, 50]] @ descriptors.T), axis=1, kind="stable")[:, :5]
    assert found.shape == (2, 5)
    assert (found[:, 0] == expected[:, 0]).all()
    assert {tuple(sorted(row)) for row in found} == {tuple(sorted(row)) for row in expected}


def test_exact_needs_the_full_descriptor(world: World, tmp_path: Path) -> None:
    """A bundle with a fused projection is refused for exact search, and profiled without."""
    fused = write_bundle(tmp_path / "fused", gallery=world.gallery)
    with pytest.raises(UsageError, match="without a gallery"):
        profile(fused, world.gallery, world.drive, features=world.features)
    row = profile(fused, world.gallery, world.drive, count=2, warmup=0).rows[0]
    assert row.facts["projection"] == "in the engine"


def test_artifacts_of_two_spaces_are_refused(world: World, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", space="boq-48-ffffffffffff")
    with pytest.raises(SpaceMismatchError):
        profile(other, world.gallery, world.drive)


def test_nothing_to_measure(world: World, tmp_path: Path) -> None:
    """An empty folder, a missing file and a file that is no video are DataErrors."""
    with pytest.raises(DataError):
        profile(world.bundle, world.gallery, tmp_path)
    with pytest.raises(DataError, match="nothing at"):
        profile(world.bundle, world.gallery, tmp_path / "missing.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match="expected a video"):
        profile(world.bundle, world.gallery, tmp_path / "broken.mp4")


def test_verbs_write_and_draw(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The artifact holds samples and configuration; stdout holds JSON only."""
    out = tmp_path / "profile"
    profile_verb.command(world.drive, world.bundle, world.gallery, out, count=4, warmup=1,
                         name="tiny", threads=1, json=True)  # fmt: skip
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert printed["rows"][0]["configuration"] == "tiny"
    assert "1 of 12 queries have no gallery image within 25 m and are not" in captured.err
    opened = open_artifact(out, "profile")
    record = opened.read("profile.json", ProfileRecord)
    assert len(record.rows[0].samples_ms["engine"]) == 4
    assert json.loads(opened.file("config.json").read_bytes())["frames"] == 4
    assert "tiny" in opened.file("report.html").read_text()

    page = tmp_path / "page.html"
    report_verb.command([out, out], page, title="Two", json=True)
    rows = json.loads(capsys.readouterr().out)["rows"]
    names = [row["configuration"] for row in rows]
    assert names == [f"tiny ({out})", f"tiny ({out}) 2"]
    assert rows[0].keys() == {
        "configuration", "r1", "r5", "engine_ms_p50", "engine_ms_p95", "search_ms_p50",
        "end_to_end_ms_p50", "end_to_end_ms_p95", "bytes_per_image", "provenance",
    }  # fmt: skip
    assert "<h1>Two</h1>" in page.read_text()


def test_known_answers_are_scored_over_all_frames() -> None:
    """Confidences stay with their frames, timed or not; unmapped frames are not covered."""
    # frame i shows place i; its grey level says what the search finds and how sure it is
    found, sure = [0, 1, 0, 3, 0, 0], [0.9, 0.8, 0.6, 0.4, 0.7, 0.1]
    frames = Frames("test", [np.full((4, 4, 3), i, np.uint8) for i in range(6)])
    answers = [np.array([i] if i < 4 else [], np.int64) for i in range(6)]

    def search(grey: np.ndarray) -> Searched:
        return Searched(np.array([[found[int(grey[0, 0])]]]), sure[int(grey[0, 0])])

    row = measure_configuration(
        Configuration(
            "judged",
            Preprocess(4, 4),
            engine=lambda image: image[:, 0, 0, :1].astype(np.float32),
            search=search,
            threshold=0.5,
        ),
        frames,
        answers=answers,
        database=4,
        count=2,
        warmup=1,
    )
    assert row.r1 == 75.0
    # right: 0, 1 and 3; the surest wrong answer, to the unmapped frame 4, has 0.7
    assert (row.r_at_100p, row.coverage, row.precision_known) == (50.0, 75.0, 50.0)
    assert closing_row(row)["coverage"] == 75.0


def test_without_the_report_extra_the_numbers_are_kept(
    record: ProfileRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> str:
        raise MissingExtraError("no jinja2")

    monkeypatch.setattr(render_report, "report_from_records", missing)
    assert not write_profile(tmp_path / "p", record, {})
    opened = open_artifact(tmp_path / "p", "profile")
    assert "report.html" not in opened.manifest.files
    assert msgspec.json.decode(opened.file("profile.json").read_bytes(), type=ProfileRecord)


def test_timed_frames_are_spread() -> None:
    """Over the whole drive, each frame once."""
    assert timed_subset(10, 0) == list(range(10))
    assert timed_subset(3, 300) == [0, 1, 2]
    chosen = timed_subset(1000, 7)
    assert len(chosen) == len(set(chosen)) == 7
    assert (chosen[0], chosen[-1]) == (0, 999)


def test_every_exit_of_a_bundle_has_a_row(world: World, tmp_path: Path) -> None:
    """Described through that exit, searched with its parameters, judged by its confidence.

    It would catch an exit measured with another's way through the network, setting or model.
    """
    bundle = write_anytime_bundle(tmp_path / "bundle")
    build_gallery(world.features, tmp_path / "g", options=IndexOptions(factory="IVF4,Flat"))
    models = {"L4": confidence(-2.0), "L8": confidence(2.0), "full": None}
    gallery = with_exits(
        tmp_path / "g", tmp_path / "judged", models, {"L4": "nprobe=1", "L8": "nprobe=2"}
    )
    record = profile(
        bundle, gallery, world.drive, features=world.features, count=4, warmup=1, threads=1
    )
    names = ["L4", "L8", "full"]
    assert [row.configuration for row in record.rows] == [
        *(f"cpu-fp32-{name}" for name in names), *(f"cpu-fp32-exact-{name}" for name in names)
    ]  # fmt: skip
    assert [row.facts["exit"] for row in record.rows] == 2 * names
    assert [row.facts["cost"] for row in record.rows[:3]] == [
        f"{100 * SHARES[name]:.0f} %" for name in names
    ]
    early, later, whole = record.rows[:3]
    assert early.facts["index"].endswith("nprobe=1")
    assert later.facts["index"].endswith("nprobe=2")
    assert (early.coverage, later.coverage, whole.coverage) == (0.0, 100.0, None)
    assert list(record.evidence) == ["cpu-fp32"]
    opened = open_bundle(bundle)
    image = opened.record.preprocess.resize(place_image(3))[None]
    with (
        open_configurations(opened, gallery, threads=1) as found,
        AnytimeOnnxRunner(opened.artifact, opened.record, threads=1) as runner,
    ):
        runner.start(image)
        expected = {name: runner.at(name) for name in names}
        # backwards, so that what an earlier configuration computed cannot help a later one
        for (configuration, _), name in reversed(list(zip(found, names, strict=True))):
            np.testing.assert_array_equal(configuration.engine(image), expected[name])
    assert np.abs(expected["L4"] - expected["full"]).max() > 1e-3
