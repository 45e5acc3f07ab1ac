"""The reader of FAISS index files; its refusals are tested through ``Gallery``."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from edgevpr.errors import CorruptArtifactError
from edgevpr.retrieval.read_index import _version, read_index


@pytest.mark.parametrize(
    ("newer", "older"), [("1.15.1", "1.9.0"), ("2.0", "1.99.9"), ("1.8.0.post1", "1.7.4")]
)
def test_versions_compare_as_numbers(newer: str, older: str) -> None:
    assert _version(newer) > _version(older)


def test_ids_that_are_not_those_of_the_images(tmp_path: Path) -> None:
    """Beyond the table, or twice: an answer would name an image that is not there."""
    vectors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    for ids, sound in (
        (np.arange(200), True),
        (np.arange(1, 201), False),
        (np.arange(200) // 2, False),
    ):
        index = faiss.index_factory(8, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add_with_ids(vectors, ids.astype(np.int64))
        faiss.write_index(index, str(tmp_path / "i.faiss"))
        if sound:
            assert read_index(tmp_path / "i.faiss", faiss.__version__, rows=200).ntotal == 200
            continue
        with pytest.raises(CorruptArtifactError, match="ids in the lists"):
            read_index(tmp_path / "i.faiss", faiss.__version__, rows=200)
