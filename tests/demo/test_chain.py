"""The demo's whole chain, on a city small enough for a test."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorrt_rtx")
pytest.importorskip("modelopt")

from edgevpr.demo.chain import CONFIGURATIONS, Budget, run_demo
from edgevpr.demo.score_drive import drive_score
from edgevpr.errors import UsageError
from edgevpr.places.table import ImageTable, to_utm


def test_the_whole_chain(tmp_path: Path) -> None:
    """Catches a verb that no longer fits its neighbours, and a summary that misses a number."""
    budget = Budget(
        gallery_epochs=1,
        query_epochs=1,
        city=("--train-cities", "1", "--train-places", "20", "--val-places", "10",
              "--test-places", "20", "--drive-frames", "20"),
    )  # fmt: skip
    out = tmp_path / "out"
    lines: list[str] = []
    run_demo(out, from_scratch=True, budget=budget, say=lines.append)
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
    assert "http://" not in page.replace("http://www.w3.org", "")
    answers = [json.loads(line) for line in (out / "drive.jsonl").read_text().splitlines()]
    assert len(answers) == 20
    assert {"frame", "time", "frame_age_ms", "place", "lat", "lon", "score", "top", "ms"} <= set(
        answers[0]
    )
    assert len([line for line in lines if line.startswith("\n$ edgevpr compile")]) == 7
    engines = sorted(p.name for p in (out / "bundles").glob("rtx-*/engines/*.engine"))
    assert len(engines) == 2


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """Catches a demo that overwrites a user's folder."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="no demo's output"):
        run_demo(tmp_path, say=print)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_drive_score_tells_seen_from_near(tmp_path: Path) -> None:
    """Catches frames between places counted as misses, and a radius in degrees."""
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
