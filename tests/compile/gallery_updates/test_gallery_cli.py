"""``edgevpr gallery`` on the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgevpr.cli.main import app
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.compile.index.index_options import IndexOptions

from ...maps import write_features


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_features(tmp_path / "own", range(30))
    write_features(tmp_path / "new", range(30, 40), prefix="new")
    build_gallery(tmp_path / "own", tmp_path / "g", options=IndexOptions(factory="SQfp16"))
    return tmp_path


def test_a_life_of_a_gallery(folder: Path) -> None:
    """Every option has its effect, data is on stdout alone, and the counts add up."""

    def gallery(verb: str, *more: object) -> str:
        done = CliRunner().invoke(app, ["gallery", verb, str(folder / "g"), *map(str, more)])
        assert done.exit_code == 0, done.output
        return done.stdout

    change = json.loads(gallery("add", folder / "new", "--json"))
    assert (change["verb"], change["images"]) == ("add", 30)
    assert gallery("remove", "--place", 3, "--place", 31, "--path", "new/00032-*") == ""
    stats = json.loads(gallery("stats", "--json"))
    assert {k: stats[k] for k in ("images", "indexed", "added", "removed", "generation")} == {
        "images": 111, "indexed": 90, "added": 30, "removed": 9, "generation": 3,
    }  # fmt: skip
    assert [c["verb"] for c in stats["changes"]] == ["add", "remove"]
    assert "path 'new/00032-*'" in " ".join(gallery("stats").split())
    gallery("compact", "--retrain", folder / "new", "--retrain", folder / "own", "--keep", 2)
    assert json.loads(gallery("stats", "--json"))["indexed"] == 111
    assert json.loads(gallery("rollback", "--json"))["number"] == 3
    assert json.loads(gallery("rollback", "--json"))["number"] == 2
    assert json.loads(gallery("stats", "--json"))["images"] == 120
