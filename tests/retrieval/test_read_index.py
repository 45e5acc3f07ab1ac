"""The reader of FAISS index files; its refusals are tested through ``Gallery``."""

import pytest

from edgevpr.retrieval.read_index import _version


@pytest.mark.parametrize(
    ("newer", "older"), [("1.15.1", "1.9.0"), ("2.0", "1.99.9"), ("1.8.0.post1", "1.7.4")]
)
def test_versions_compare_as_numbers(newer: str, older: str) -> None:
    assert _version(newer) > _version(older)
