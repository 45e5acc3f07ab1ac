"""Features by early exits: which descriptors they hold, and what names none."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from edgevpr.artifacts.features import Features  # noqa: E402
from edgevpr.data import read_images  # noqa: E402
from edgevpr.errors import ArtifactError, UsageError  # noqa: E402
from edgevpr.preprocess import read_image  # noqa: E402
from edgevpr.train.anytime.store import load_anytime  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402

from ..runs import EXITS, write_anytime  # noqa: E402


@pytest.fixture(scope="module")
def anytime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_anytime(tmp_path_factory.mktemp("anytime"))


def test_features_are_of_the_exit_that_is_named(tiny: Path, anytime: Path, tmp_path: Path) -> None:
    """Each as the network answers there; "full" is the same as none."""
    network, about, opened = load_anytime(anytime)
    pictures = tiny / "val" / "database"
    paths = read_images(pictures).paths
    pixels = np.stack([about.preprocess.resize(read_image(pictures / path)) for path in paths])
    batch = torch.from_numpy(about.preprocess.normalize(pixels))
    found = {}
    for name in (*EXITS, "full", ""):
        embed(anytime, pictures, tmp_path / f"f{name}", workers=0, exit=name)
        features = Features(tmp_path / f"f{name}")
        assert features.record.exit == ("" if name == "full" else name)
        assert (features.space, features.record.model_digest) == (opened.space, opened.digest)
        with torch.inference_mode():
            expected = network(batch, name or "full").numpy()
        np.testing.assert_allclose(features.descriptors, expected, atol=2e-3)
        found[name] = np.asarray(features.descriptors, np.float32)
    assert np.array_equal(found["full"], found[""])
    for one, other in (("1.0", "2.0"), ("2.0", ""), ("1.0", "")):
        assert np.abs(found[one] - found[other]).max() > 0.02


def test_an_unfinished_run_of_another_exit_is_not_gone_on_with(
    tiny: Path, anytime: Path, tmp_path: Path
) -> None:
    out, pictures = tmp_path / "f", tiny / "val" / "database"
    assert embed(anytime, pictures, out, workers=0, shard=(0, 2), exit="1.0") is None
    assert embed(anytime, pictures, out, workers=0, shard=(1, 2), exit="2.0") is None
    assert embed(anytime, pictures, out, workers=0, shard=(0, 2), exit="2.0") is not None
    embed(anytime, pictures, tmp_path / "whole", workers=0, exit="2.0")
    np.testing.assert_allclose(
        np.asarray(Features(out).descriptors, np.float32),
        np.asarray(Features(tmp_path / "whole").descriptors, np.float32),
        atol=2e-3,
    )


def test_exits_that_a_model_does_not_have(tiny: Path, anytime: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`exit` L9, expected one of .*: pass 1\.0, 2\.0, or"):
        embed(anytime, tiny / "train", tmp_path / "f", workers=0, exit="L9")
    with pytest.raises(ArtifactError, match="no early exits in"):
        embed(anytime.parent / "plain", tiny / "train", tmp_path / "f", workers=0, exit="1.0")
    assert not list(tmp_path.iterdir())


def test_verb(tiny: Path, anytime: Path, tmp_path: Path) -> None:
    args = [sys.executable, "-m", "edgevpr", "embed", str(anytime), str(tiny / "val" / "database")]
    args += ["-o", str(tmp_path / "f"), "--workers", "0", "--json", "--exit"]
    done = subprocess.run([*args, "1.0"], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["exit"] == "1.0"
    done = subprocess.run([*args, "3.7"], capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert "found --exit 3.7" in done.stderr
