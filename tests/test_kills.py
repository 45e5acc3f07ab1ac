"""Verbs killed at random moments, in small; ``benchmarks/kills.py`` kills all of them."""

from pathlib import Path

import pytest

from benchmarks.kill_list import VERBS
from benchmarks.kills import Kills

from .runtime.build import build_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the world of ``Kills``, of another network and as little as a second draws."""
    root = tmp_path_factory.mktemp("kills")
    build_world(root / "world")
    (root / "world" / "features").rename(root / "world" / "map")
    (root / "tmp").mkdir()
    return root


@pytest.mark.parametrize("name", ["index", "gallery remove", "bundle key"])
def test_nothing_is_destroyed(world: Path, name: str) -> None:
    """Inputs stay, outputs are the old or the new ones, and the same command runs again."""
    kills = Kills(world, seed=3)
    kills.verb(name, VERBS[name], 2)
    assert kills.kills[name] == 2
    assert not kills.faults


def test_what_is_wrong_is_found(world: Path) -> None:
    """The checks themselves: half an output, a folder in the temporary folder, a lost process."""
    kills = Kills(world, seed=0)
    verb = VERBS["gallery remove"]
    kills.place_earlier(verb, there=True)
    kills.at = ""
    (kills.work / "gallery" / "images.csv").write_text("half")
    kills._check_outputs(verb, {"gallery": ""})
    kills._check_inputs([world / "world" / "map"], [""])
    assert dict(kills.faults) == {"half-written outputs": 1, "inputs changed": 1}
    assert "1 half-written outputs" in kills.closing()
