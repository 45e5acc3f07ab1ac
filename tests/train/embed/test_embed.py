"""Features artifacts of image folders, in one go, in shards and after an interruption."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

import edgevpr.train.embed.embed as describing  # noqa: E402
from edgevpr.artifacts.features import Features  # noqa: E402
from edgevpr.data.left_out import LeftOut  # noqa: E402
from edgevpr.errors import DataError  # noqa: E402
from edgevpr.train.embed.embed import embed  # noqa: E402
from edgevpr.train.prepare import embedded_images  # noqa: E402

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


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_cannot_be_read(
    tiny: Path, trained: Path, tmp_path: Path, workers: int
) -> None:
    """Are left out and named, or end the run with the sentence alone: no worker's traceback."""
    images = tmp_path / "images"
    shutil.copytree(tiny / "train", images)
    files = sorted(path for path in images.rglob("*.png"))
    for file in files[:3]:
        file.write_bytes(b"")
    out = tmp_path / "features"
    with pytest.raises(DataError, match=r"^found no readable image in [^\n]*$"):
        embed(trained / "gallery", images, out, workers=workers, batch_size=2)
    left_out: list[LeftOut] = []
    record = embed(
        trained / "gallery", images, out, workers=workers, batch_size=2, left_out=left_out
    )
    assert record is not None
    made, whole = Features(out), Features(trained / "features")
    assert record.count == len(whole.table) - 3
    assert {item.path for item in left_out} == {*whole.table.paths} - {*made.table.paths}
    assert {item.reason for item in left_out} == {"an empty file"}
    assert embedded_images(whole.table, out, images).paths == made.table.paths
    kept = [whole.table.paths.index(path) for path in made.table.paths]
    np.testing.assert_allclose(
        np.asarray(made.descriptors, np.float32),
        np.asarray(whole.descriptors, np.float32)[kept],
        atol=2e-3,
    )


@pytest.mark.parametrize("moment", ["before", "swapped"])
def test_killed_while_the_artifact_is_written(
    tiny: Path, trained: Path, tmp_path: Path, moment: str
) -> None:
    """The same command goes on, describes nothing again, and leaves nothing beside its output."""
    out = tmp_path / "features"
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "import edgevpr.files as files\n"
        "from edgevpr.train.embed.embed import embed\n"
        "swap = files._swap_in\n"
        "def dying(*paths):\n"
        "    if sys.argv[4] == 'swapped':\n"
        "        swap(*paths)\n"
        "    os._exit(9)\n"
        "files._swap_in = dying\n"
        "embed(*map(Path, sys.argv[1:4]), workers=0)\n"
    )
    words = [str(trained / "gallery"), str(tiny / "train"), str(out), moment]
    assert subprocess.run([sys.executable, "-c", code, *words]).returncode == 9
    assert out.exists() == (moment == "swapped")

    def none_left(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        assert not list(items)
        return iter(())

    assert embed(trained / "gallery", tiny / "train", out, workers=0, track=none_left)
    assert [p.name for p in tmp_path.iterdir()] == ["features"]
    np.testing.assert_array_equal(
        Features(out).descriptors, Features(trained / "features").descriptors
    )


def test_images_that_were_refused_are_looked_at_again(
    tiny: Path, trained: Path, tmp_path: Path
) -> None:
    """Their rows count as described."""
    images, out = tmp_path / "images", tmp_path / "f"
    shutil.copytree(tiny / "train", images)
    for file in images.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        embed(trained / "gallery", images, out, workers=0, left_out=[])
    shutil.copytree(tiny / "train", images, dirs_exist_ok=True)
    made = embed(trained / "gallery", images, out, workers=0, left_out=[])
    assert made is not None
    assert made.count == len(Features(trained / "features").table)


def test_no_image_that_can_be_read(tiny: Path, trained: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(tiny / "train", images)
    for file in images.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        embed(trained / "gallery", images, tmp_path / "f", workers=0, left_out=[])
