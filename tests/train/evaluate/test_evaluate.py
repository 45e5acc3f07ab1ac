"""Evaluation of networks, and its files."""

import csv
import io
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from edgevpr.errors import SpaceMismatchError, UsageError  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402
from edgevpr.train.evaluate.evaluate import evaluate, save_descriptors  # noqa: E402
from edgevpr.train.evaluate.sheet import save_sheet  # noqa: E402
from edgevpr.train.fit import fit  # noqa: E402

from ..runs import gallery_config  # noqa: E402


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
