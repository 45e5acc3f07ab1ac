"""The demo's whole chain, on a city small enough for a test."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorrt_rtx")
pytest.importorskip("modelopt")

from edgevpr.cli.main import app
from edgevpr.demo.chain import CONFIGURATIONS, EXITS, Budget, run_demo
from edgevpr.demo.exit_rows import DeadlineRun, ExitRow, deadline_between, deadline_run
from edgevpr.demo.score_drive import drive_score
from edgevpr.errors import UsageError
from edgevpr.places.table import ImageTable, to_utm


def run_verb(words: list[str]) -> None:
    app(words, standalone_mode=False)


def test_the_whole_chain(tmp_path: Path) -> None:
    """Every verb takes what the one before it wrote, and the summary has all numbers."""
    budget = Budget(
        gallery_epochs=1,
        query_epochs=1,
        codebook_epochs=1,
        exit_epochs=1,
        codebook_size=8,
        city=("--train-cities", "1", "--train-places", "20", "--val-places", "10",
              "--test-places", "20", "--drive-frames", "20"),
    )  # fmt: skip
    out = tmp_path / "out"
    lines: list[str] = []
    run_demo(out, from_scratch=True, budget=budget, run_verb=run_verb, print_line=lines.append)
    summary = json.loads((out / "summary.json").read_text())
    assert [row["configuration"] for row in summary["rows"]] == list(CONFIGURATIONS)
    for row in summary["rows"]:
        assert set(row) == {
            "configuration", "r1", "r5", "engine_ms_p50", "engine_ms_p95", "search_ms_p50",
            "end_to_end_ms_p50", "end_to_end_ms_p95", "bytes_per_image",
        }  # fmt: skip
        assert 0 <= row["r1"] <= row["r5"] <= 100
        assert 0 < row["engine_ms_p50"] <= row["end_to_end_ms_p50"]
        assert row["bytes_per_image"] > 0
    assert Path(summary["report"]).is_file()
    page = Path(summary["report"]).read_text()
    assert "query-int8-ivfpq" in page
    exits = summary["exits"]
    assert [row["exit"] for row in exits] == [*EXITS, "full"]
    shares = [float(row["cost"].removesuffix(" %")) for row in exits]
    assert shares == sorted(shares)
    assert shares[-1] == 100
    for row in exits:
        assert 0 <= row["r1"] <= row["r5"] <= 100
        assert 0 < row["engine_ms_p50"] <= row["end_to_end_ms_p50"] <= row["end_to_end_ms_p95"]
    assert exits[-1]["r1"] == summary["rows"][2]["r1"], "the full path is the query network"
    assert sum(summary["deadline"]["exits"].values()) == 20
    assert "The map was described once" in page
    assert "a network without exits" in page, "whether one beats an exit"
    assert "http://" not in page.replace("http://www.w3.org", "")
    answers = [json.loads(line) for line in (out / "drive.jsonl").read_text().splitlines()]
    assert len(answers) == 20
    assert {"frame", "time", "frame_age_ms", "place", "lat", "lon", "score", "top", "ms"} <= set(
        answers[0]
    )
    assert len([line for line in lines if line.startswith("\n$ edgevpr compile")]) == 8
    engines = sorted(p.name for p in (out / "bundles").glob("rtx-*/engines/*.engine"))
    assert len(engines) == 2


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="expected nothing or an earlier demo's output"):
        run_demo(tmp_path, run_verb=run_verb, print_line=print)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_drive_under_a_deadline_is_counted_by_exit(tmp_path: Path) -> None:
    """The deadline lies between the exits; frames are counted by exit, late ones as late."""
    rows = [
        ExitRow("1.1", "60 %", 1.0, 1.5, p95, 50.0, 60.0, None) for p95 in (2.0, 2.5, 3.0)
    ]  # fmt: skip
    assert deadline_between(rows) == 2.5
    east, north, _, _ = to_utm([50.0], [9.0])
    gallery = ImageTable.build(
        ["a.jpg"], place=[7], easting=east, northing=north, zone=[32], letter=["U"],
        lat=[50.0], lon=[9.0], heading=[0.0],
    )  # fmt: skip
    lines = ["frame,easting,northing,heading,place"]
    lines += [f"{frame},{east[0] + 1},{north[0]},0,7" for frame in range(4)]
    (tmp_path / "drive.csv").write_text("\n".join(lines))
    said = [
        {"frame": 0, "exit": "full", "late": True, "lat": 50.0, "lon": 9.0},
        {"frame": 1, "exit": "1.1", "late": False, "lat": 50.0, "lon": 9.0},
        {"frame": 2, "exit": "1.1", "lat": 50.0, "lon": 9.0},
        {"frame": 3, "exit": "1.1", "late": False, "lat": 50.01, "lon": 9.0},
    ]
    (tmp_path / "run.jsonl").write_text("".join(json.dumps(a) + "\n" for a in said))
    run = deadline_run(tmp_path / "run.jsonl", tmp_path / "drive.csv", gallery, 2.5)
    assert run == DeadlineRun(2.5, {"1.1": 3, "full": 1}, 1, 75.0)


def test_drive_score_tells_seen_from_near(tmp_path: Path) -> None:
    """Frames between places count neither way, and the radius is in metres."""
    east, north, _, _ = to_utm([50.0], [9.0])
    gallery = ImageTable.build(
        ["a.jpg"], place=[7], easting=east, northing=north, zone=[32], letter=["U"],
        lat=[50.0], lon=[9.0], heading=[0.0],
    )  # fmt: skip
    lines = ["frame,easting,northing,heading,place"]
    for frame, (away, heading) in enumerate([(1, 10), (1, 90), (20, 0), (60, 0)]):
        lines.append(f"{frame},{east[0] + away},{north[0]},{heading},7")
    (tmp_path / "drive.csv").write_text("\n".join(lines))
    far = {"lat": 50.01, "lon": 9.0}
    said = [{"frame": i, "lat": 50.0, "lon": 9.0} for i in (0, 1, 3)] + [{"frame": 2} | far]
    (tmp_path / "run.jsonl").write_text("".join(json.dumps(a) + "\n" for a in said))
    score = drive_score(tmp_path / "run.jsonl", tmp_path / "drive.csv", gallery)
    assert (score.seen, score.seen_frames) == (100.0, 1)
    assert (score.near, score.near_frames) == (pytest.approx(200 / 3), 3)
