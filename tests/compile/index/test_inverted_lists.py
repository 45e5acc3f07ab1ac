"""Inverted lists filled in shards and merged on disk."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from edgevpr.compile.index import faiss_build, inverted_lists
from edgevpr.compile.index.faiss_build import build_file
from edgevpr.errors import ResourceError


def vectors_of(count: int, width: int = 32, seed: int = 0) -> np.ndarray:
    """(N, d) unit vectors around a few directions, so that lists differ in size."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((12, width))
    found = centres[rng.integers(0, 12, count)] + 0.4 * rng.standard_normal((count, width))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def whole_and_sharded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Builds a factory twice: in memory, and in shards; the two files."""

    def build(factory: str, vectors: np.ndarray, rows: int = 301) -> tuple[Path, Path]:
        whole, sharded = tmp_path / "whole.faiss", tmp_path / "sharded.faiss"
        build_file(vectors, factory, whole)
        monkeypatch.setattr(faiss_build, "_CHUNK", 101)
        monkeypatch.setattr(inverted_lists, "_rows", lambda index: rows)
        build_file(vectors, factory, sharded)
        monkeypatch.undo()
        return whole, sharded

    return build


@pytest.mark.parametrize(
    "factory",
    [
        "IVF16,RaBitQ",
        "IVF16,SQ8",
        "IVF16,Flat",
        "IVF16,PQ8x4",
        "IVF16_HNSW8,PQ8x4",
        "OPQ16_32,IVF16,PQ16x4",
        "IVF16,PQ16x4,Refine(SQfp16)",
        "IVF16,SQ8,Refine(SQ8)",
    ],
)
def test_the_file_is_the_one_filled_in_memory(whole_and_sharded, factory: str) -> None:
    """To the byte."""
    whole, sharded = whole_and_sharded(factory, vectors_of(1000))
    assert sharded.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in whole.parent.iterdir()) == ["sharded.faiss", "whole.faiss"]


def test_lists_that_stay_empty(whole_and_sharded) -> None:
    """FAISS keeps sizes in another form where half of the lists are empty."""
    few = np.repeat(vectors_of(5), 200, axis=0)
    whole, sharded = whole_and_sharded("IVF16,SQ8", few)
    assert sharded.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    "factory",
    ["IVF16,PQ16x4fsr", "IVF16,RaBitQfs", "Flat", "IVF16,SQ8,RFlat", "IVF16,Flat,Refine(PQ8x4)"],
)
def test_other_kinds_are_filled_in_memory(whole_and_sharded, factory: str) -> None:
    whole, sharded = whole_and_sharded(factory, vectors_of(1000))
    assert sharded.read_bytes() == whole.read_bytes()


def test_shards_are_as_large_as_memory_allows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(faiss_build, "_CHUNK", 100)
    monkeypatch.setattr(inverted_lists, "SHARD_BYTES", 350 * (32 + 8))
    written, write = [], inverted_lists.write_index

    def noted(index, path: Path) -> None:
        written.append(index.ntotal)
        write(index, path)

    monkeypatch.setattr(inverted_lists, "write_index", noted)
    index = build_file(vectors_of(1000), "IVF16,SQ8", tmp_path / "i.faiss")
    assert written == [300, 300, 300, 100]
    assert index.ntotal == 1000


def test_a_full_disk_leaves_no_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(faiss_build, "_CHUNK", 100)
    monkeypatch.setattr(inverted_lists, "_rows", lambda index: 300)
    write = faiss.write_index

    def full(index, target, *flags) -> None:
        if str(target).endswith(".2"):
            raise RuntimeError("Error: 'ret == (size)' failed: No space left on device")
        write(index, target, *flags)

    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(ResourceError, match="No space left"):
        build_file(vectors_of(1000), "IVF16,SQ8", tmp_path / "i.faiss")
    assert not list(tmp_path.iterdir())
