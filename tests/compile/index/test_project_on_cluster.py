"""An index whose descriptors are projected by a real Ray cluster on this machine."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="pip install 'edgevpr[cluster]'")

import edgevpr.compile.index.vectors as vectors
from edgevpr.artifacts.features import Features
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.projection import l2_normalize


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_projects_as_one_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks come back in any order: rows in each other's place would still make an index."""
    monkeypatch.setattr(vectors, "_PROJECT_BYTES", 4 * 320 * 100)  # 100 rows a block
    _write(tmp_path / "f", count=240)
    options = IndexOptions(dim=64, factory="Flat")
    build_gallery(tmp_path / "f", tmp_path / "one", options=options)
    build_gallery(tmp_path / "f", tmp_path / "many", options=options, cluster="local")
    one, many = (_vectors(tmp_path / name) for name in ("one", "many"))
    assert one.shape == (240, 64)
    np.testing.assert_allclose(many, one, atol=1e-6)


def _write(path: Path, count: int) -> None:
    descriptors = l2_normalize(np.random.default_rng(0).normal(size=(count, 320)))
    table = ImageTable.build([f"{i}.jpg" for i in range(count)], place=np.arange(count) // 4)
    Features.write(
        path, descriptors, table, space="boq-320-0123456789ab", model_digest="m",
        preprocess=Preprocess(64, 64), source="test",
    )  # fmt: skip


def _vectors(folder: Path) -> np.ndarray:
    import faiss

    index = faiss.read_index(str(folder / "index.faiss"))
    return np.asarray(index.reconstruct_n(0, index.ntotal))
