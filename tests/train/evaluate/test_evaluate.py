"""Evaluation of networks, and its files."""

import csv
import dataclasses
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from edgevpr.artifacts.features import Features  # noqa: E402
from edgevpr.cli.eval import command  # noqa: E402
from edgevpr.data import protocols  # noqa: E402
from edgevpr.errors import SpaceMismatchError, UsageError  # noqa: E402
from edgevpr.places.table import ImageTable  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402
from edgevpr.train.evaluate.evaluate import (  # noqa: E402
    evaluate,
    recall_of,
    save_descriptors,
    score_again,
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
    above = [float(row["similarity"]) for row in rows if row["correct"] == "0"]
    sure = sum(done.similarity[:, 0] > max(above, default=-1) + 1e-4)
    assert done.curve.figures().r_at_100p == pytest.approx(100 * sure / len(rows))
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


def test_protocols_of_the_same_images(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Scored again as an evaluation from the start scores it, exits and a stored order too.

    It would catch positives of the first protocol, or in the order of the folder.
    """
    for name in ("nordland-1", "nordland-3", "amstertime"):
        entry = dataclasses.replace(protocols.PROTOCOLS[name], database=12, queries=6)
        monkeypatch.setitem(protocols.PROTOCOLS, name, entry)
    for name, images in (("ref", "database"), ("query", "queries")):
        (tmp_path / name).mkdir()
        for i, image in enumerate(sorted((tiny / "val" / images).glob("*.png"))):
            if name == "ref" or i % 2 == 0:
                number = i if name == "ref" else i // 2
                shutil.copy(image, tmp_path / name / f"{number}.png")
    model = write_anytime(tmp_path)
    first = evaluate(model, tmp_path, protocol="nordland-1")
    second = evaluate(model, tmp_path, protocol="nordland-3")
    assert [len(good) for good in first.positives] == [2, 3, 3, 3, 3, 3]
    assert [len(good) for good in second.positives] == [4, 6, 7, 7, 7, 5]
    again = score_again(first, "nordland-3", tmp_path)
    for found in (again, score_again(again, "nordland-3", tmp_path)):
        assert (found.recall, found.curve) == (second.recall, second.curve)
        assert [e.recall for e in found.exits] == [e.recall for e in second.exits]
        assert [e.curve for e in found.exits] == [e.curve for e in second.exits]
    assert len(first.exits) == len(again.exits) == len(EXITS)
    both = ["nordland-1", "nordland-3"]
    capsys.readouterr()
    command(model, tmp_path, protocol=both)
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    expected = [[name, way] for name in both for way in (*EXITS, "full")]
    assert [row for row in rows if row[:1] in (both[:1], both[1:])] == expected
    command(model, tmp_path, protocol=both, json=True)
    documents = json.loads(capsys.readouterr().out)
    assert [document["protocol"] for document in documents] == both
    for document, done in zip(documents, (first, second), strict=True):
        assert document["recall"]["at"]["5"] == done.recall.at[5]
        assert [each["recall"]["at"]["1"] for each in document["exits"]] == [
            each.recall.at[1] for each in done.exits
        ]
    numbered = protocols.open_protocol("nordland-1", tmp_path).database.paths
    table = ImageTable.build([path.partition("/")[2] for path in numbered], place=range(12))
    table.take(np.arange(12)[::-1]).save(tmp_path / "ref" / "images.csv")
    embed(model, tmp_path / "ref", tmp_path / "features", workers=0)
    (tmp_path / "ref" / "images.csv").unlink()
    stored = evaluate(model, tmp_path, features=tmp_path / "features", protocol="nordland-1")
    assert stored.gallery.paths == numbered[::-1]
    assert score_again(stored, "nordland-3", tmp_path).recall == second.recall
    shutil.copytree(tmp_path / "ref", tmp_path / "other" / "new")
    shutil.copytree(tmp_path / "query", tmp_path / "other" / "old")
    with pytest.raises(UsageError, match=r"other images for amstertime.*one `protocol` at a time"):
        score_again(first, "amstertime", tmp_path / "other")


def test_the_verb_names_both_denominators(trained: Path, tiny: Path, tmp_path: Path) -> None:
    """A query of no place in the map is in one and not in the other."""
    data = tmp_path / "data"
    shutil.copytree(tiny / "val", data)
    table = ImageTable.load(data / "queries" / "images.csv")
    lost = dataclasses.replace(table, place=np.where(np.arange(len(table)) < 3, 99, table.place))
    lost.save(data / "queries" / "images.csv")
    args = [sys.executable, "-m", "edgevpr", "eval", str(trained / "gallery"), str(data)]
    curve = tmp_path / "curve.csv"
    shown = subprocess.run(
        [*args, "--curve", str(curve)], capture_output=True, text=True, timeout=180
    )
    assert shown.returncode == 0, shown.stderr
    done = evaluate(trained / "gallery", data)
    assert (done.recall.queries, done.recall.without_positives) == (12, 3)
    assert done.recall.of_all[5] == pytest.approx(done.recall.at[5] * 9 / 12)
    lines = shown.stdout.splitlines()
    assert lines[0].startswith(f"all 12 queries: R@1: {done.recall.of_all[1]:.1f}, R@5:")
    assert lines[1].startswith(f"9 answerable queries: R@1: {done.recall.at[1]:.1f}, R@5:")
    figures = done.curve.figures()
    assert lines[2] == f"R@100P: {figures.r_at_100p:.1f}, AUC-PR: {figures.auc_pr:.3f}"
    assert curve.read_text() == done.curve.to_csv().replace("\r\n", "\n")
    both = [*args, "--json", "--compare", str(trained / "gallery")]
    shown = subprocess.run(both, capture_output=True, text=True, timeout=180)
    documents = json.loads(shown.stdout)
    assert len(documents) == 2
    for document in documents:
        assert document["recall"]["of_all"]["1"] == pytest.approx(done.recall.of_all[1])
        assert document["precision_recall"] == dataclasses.asdict(figures)
        assert document["curve"]["recall"] == list(done.curve.recall)
    shown = subprocess.run(both[:-3] + both[-2:], capture_output=True, text=True, timeout=180)
    rows = [line.split() for line in shown.stdout.splitlines() if line.startswith(str(trained))]
    assert [row[1] for row in rows] == ["all", "answerable"] * 2
    assert float(rows[0][2]) == pytest.approx(done.recall.of_all[1], abs=0.06)
