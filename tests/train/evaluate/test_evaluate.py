"""Evaluation of networks, and its files."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from edgevpr.artifacts.features import Features  # noqa: E402
from edgevpr.errors import SpaceMismatchError, UsageError  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402
from edgevpr.train.evaluate.evaluate import (  # noqa: E402
    evaluate,
    recall_of,
    save_descriptors,
)
from edgevpr.train.evaluate.sheet import save_sheet  # noqa: E402
from edgevpr.train.fit import fit  # noqa: E402

from ..runs import EXITS, gallery_config, write_anytime  # noqa: E402


def test_what_an_evaluation_leaves(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """The per-query file and the picture agree with the recall."""
    done = evaluate(trained / "query", tiny / "val", features=trained / "database")
    rows = list(csv.DictReader(io.StringIO(done.to_csv())))
    right = sum(int(row["correct"]) for row in rows)
    assert 100 * right / len(rows) == pytest.approx(done.recall.at[1])
    for row in rows:
        assert (row["first_positive_rank"] == "1") == (row["correct"] == "1")
        assert (tiny / "val" / row["answer"]).is_file()
    save_sheet(done, tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    frames = [tuple(int(c) for c in sheet[2 + 144 * i, 2][::-1]) for i in range(8)]
    assert frames.count((70, 110, 200)) == min(8, len(rows) - right)
    save_descriptors(done, tmp_path / "d")
    assert np.load(tmp_path / "d" / "queries.npy").shape == done.query_descriptors.shape
    with pytest.raises(UsageError, match=r"\.jpg or \.png"):
        save_sheet(done, tmp_path / "sheet.txt")


def test_evaluate_refuses_another_space(tiny: Path, trained: Path, tmp_path: Path) -> None:
    fit(gallery_config(tiny, epochs=1, seed=5), tmp_path / "other")
    embed(tmp_path / "other", tiny / "val" / "database", tmp_path / "features", workers=0)
    with pytest.raises(SpaceMismatchError):
        evaluate(trained / "query", tiny / "val", features=tmp_path / "features")
    with pytest.raises(UsageError, match="pass `features`"):
        evaluate(trained / "query", tiny / "val")


def test_every_exit_is_measured(tiny: Path, tmp_path: Path) -> None:
    """As features embedded by that exit are, against the database by the full path.

    It would catch exits out of order, and a database described by an exit.
    """
    model = write_anytime(tmp_path)
    plain = evaluate(tmp_path / "plain", tiny / "val")
    assert plain.exits == ()
    done = evaluate(model, tiny / "val")
    assert done.recall == plain.recall
    np.testing.assert_array_equal(done.query_descriptors, plain.query_descriptors)
    np.testing.assert_array_equal(done.gallery_descriptors, plain.gallery_descriptors)
    assert [each.exit for each in done.exits] == list(EXITS)
    shares = [each.share for each in done.exits]
    assert 0 < shares[0] < shares[1]
    for each in done.exits:
        features = tmp_path / each.exit
        embed(model, tiny / "val" / "queries", features, workers=0, exit=each.exit)
        found = Features(features)
        own = recall_of(found.table, found.descriptors, done.gallery, done.gallery_descriptors)
        assert each.recall == own
    early = tmp_path / "early"
    embed(model, tiny / "val" / "database", early, workers=0, exit=EXITS[0])
    with pytest.raises(UsageError, match="expected the full path"):
        evaluate(model, tiny / "val", features=early)
    args = [sys.executable, "-m", "edgevpr", "eval", str(model), str(tiny / "val")]
    shown = subprocess.run([*args, "--json"], capture_output=True, text=True, timeout=180)
    assert shown.returncode == 0, shown.stderr
    document = json.loads(shown.stdout)
    assert document["queries"] == done.recall.queries
    assert [each["share"] for each in document["exits"]] == shares
    assert [each["recall"]["at"]["5"] for each in document["exits"]] == [
        each.recall.at[5] for each in done.exits
    ]
    both = [*args, "--compare", str(tmp_path / "plain")]
    shown = subprocess.run(both, capture_output=True, text=True, timeout=180)
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert [row[1] for row in lines if row[:1] == [str(model)]] == [*EXITS, "full"]
    assert [row[1] for row in lines if row[:1] == [str(tmp_path / "plain")]] == ["full"]
