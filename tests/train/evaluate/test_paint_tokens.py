"""Pictures of tokens: the colours of a projection, and which tokens are in which square."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from edgevpr.errors import ArtifactError, UsageError  # noqa: E402
from edgevpr.train.anytime.store import load_anytime  # noqa: E402
from edgevpr.train.evaluate.paint_tokens import (  # noqa: E402
    TokenColours,
    TokenMaps,
    draw_tokens,
    paint_tokens,
    token_maps,
)

from ..runs import write_anytime  # noqa: E402


@pytest.fixture(scope="module")
def anytime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_anytime(tmp_path_factory.mktemp("anytime"))


def test_colours_are_the_three_directions_of_most_variance() -> None:
    """Against the singular value decomposition in float64; dark to bright in all three."""
    draw = np.random.default_rng(0)
    tokens = (draw.normal(size=(400, 12)) * np.linspace(3, 0.1, 12) + 5).astype(np.float32)
    colours = TokenColours.fit(tokens)
    centred = tokens.astype(np.float64) - tokens.mean(0, dtype=np.float64)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    cosines = np.abs((colours.directions.astype(np.float64) * directions[:3]).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=1e-4)
    painted = colours(tokens.reshape(20, 20, 12))
    assert painted.shape == (20, 20, 3)
    assert painted.min() == 0
    assert painted.max() == 1
    along = centred @ directions[:3].T
    for channel in range(3):
        inside = (painted[..., channel].ravel() > 0) & (painted[..., channel].ravel() < 1)
        assert 0.97 <= inside.mean() <= 0.985
        of = np.corrcoef(along[inside, channel], painted[..., channel].ravel()[inside])[0, 1]
        assert abs(of) > 0.9999
    again = TokenColours.fit(np.ascontiguousarray(tokens[::-1]))
    np.testing.assert_allclose(again.directions, colours.directions, atol=1e-3)


def test_fewer_channels_than_colours() -> None:
    painted = TokenColours.fit(np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32))
    assert painted.directions.shape == (3, 2)


def test_tokens_of_every_exit(anytime: Path) -> None:
    """Those that the tail reads: composed ones, and full, answer as the network does."""
    network, _, _ = load_anytime(anytime)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = token_maps(network, pixels)
    assert list(found) == ["1.0 regressed", "1.0 composed", "2.0 regressed", "full"]
    for column, exit in (("1.0 composed", "1.0"), ("2.0 regressed", "2.0"), ("full", "full")):
        tokens = torch.from_numpy(found[column]).flatten(0, 1)[None]
        with torch.inference_mode():
            torch.testing.assert_close(tokens, network.tokens(pixels, exit))
    assert np.abs(found["1.0 regressed"] - found["1.0 composed"]).max() > 0.01


def test_equal_tokens_have_equal_colours() -> None:
    """One projection for the whole picture; squares lie in the order of the columns."""
    draw = np.random.default_rng(2)
    full = draw.normal(size=(4, 5, 8)).astype(np.float32)
    image = np.full((30, 40, 3), (250, 10, 20), np.uint8)
    page = draw_tokens([TokenMaps(image, {"a": full.copy(), "b": full + 3, "full": full})])
    assert page.shape == (24 + 166, 4 * 166, 3)
    squares = [page[24 : 24 + 160, 166 * i : 166 * i + 160] for i in range(4)]
    assert (squares[0] == (250, 10, 20)).all()
    assert (squares[1] == squares[3]).all()
    assert (squares[2] != squares[3]).any()


def test_the_picture(tiny: Path, anytime: Path, tmp_path: Path) -> None:
    path = paint_tokens([anytime], tiny / "train", tmp_path / "out", count=3)
    assert cv2.imread(str(path)).shape == (24 + 3 * 166, 5 * 166, 3)
    with pytest.raises(ArtifactError, match="no early exits"):
        paint_tokens([anytime.parent / "plain"], tiny / "train", tmp_path / "out")
    with pytest.raises(UsageError, match="`count` 0"):
        paint_tokens([anytime], tiny / "train", tmp_path / "out", count=0)


def test_verb(tiny: Path, anytime: Path, tmp_path: Path) -> None:
    """Needs no features; without them and without tokens there is nothing to show."""
    args = [sys.executable, "-m", "edgevpr", "explain", str(tiny / "train"), "-m", str(anytime)]
    args += ["-o", str(tmp_path / "out")]
    done = subprocess.run([*args, "--tokens"], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["tokens.png"]
    done = subprocess.run(args, capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert "neither --features nor --tokens" in done.stderr
