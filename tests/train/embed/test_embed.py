"""Features artifacts of image folders, in one go, in shards and after an interruption."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

import edgevpr.train.embed.embed as describing  # noqa: E402
from edgevpr.artifacts.features import Features  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402

T = TypeVar("T")


def test_embed_in_parts_is_embed(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """Parts in any order give the same features, once all of them are there."""
    out = tmp_path / "features"
    for part in (2, 0, 1):
        assert not out.exists()
        made = embed(trained / "gallery", tiny / "train", out, workers=0, shard=(part, 3))
    assert made is not None
    whole, parts = Features(trained / "features"), Features(out)
    np.testing.assert_allclose(
        np.asarray(parts.descriptors, np.float32), np.asarray(whole.descriptors, np.float32),
        atol=2e-3,
    )  # fmt: skip
    assert parts.space == whole.space
    assert [p.name for p in tmp_path.iterdir()] == ["features"]


def test_embed_goes_on_where_it_stopped(
    tiny: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describing, "_NOTE_EVERY", 8)
    out = tmp_path / "features"

    def stopping(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        for i, item in enumerate(items):
            if i == 3:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        embed(trained / "gallery", tiny / "train", out, workers=0, batch_size=8, track=stopping)
    assert not out.exists()
    batches: list[int] = []

    def counting(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        for item in items:
            batches.append(1)
            yield item

    embed(trained / "gallery", tiny / "train", out, workers=0, batch_size=8, track=counting)
    assert len(batches) == 1  # of four
    np.testing.assert_allclose(
        np.asarray(Features(out).descriptors, np.float32),
        np.asarray(Features(trained / "features").descriptors, np.float32),
        atol=2e-3,
    )
