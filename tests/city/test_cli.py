"""``edgevpr city``."""

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from edgevpr.cli import city

SMALL = ["--train-cities", "1", "--train-places", "2", "--val-places", "1", "--test-places", "3",
         "--drive-frames", "2", "--workers", "1"]  # fmt: skip


def _run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(city.command)
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_it_says_what_it_drew_and_what_thumbnails_score(tmp_path: Path) -> None:
    """Catches a summary that leaves out the baseline."""
    text = _run("-o", str(tmp_path / "city"), *SMALL)
    assert "16 training, 6 validation and 21 test images" in text
    assert "R@1" in text


def test_json_is_one_document_with_the_baseline(tmp_path: Path) -> None:
    """Catches remarks or bars mixed into the JSON."""
    record = json.loads(_run("-o", str(tmp_path / "city"), *SMALL, "--json"))
    assert record["images"] == {"train": 16, "val": 6, "test": 21}
    assert 0 <= record["thumbnail"]["r1"] <= 100
    assert record["seed"] == 0
