"""Descriptor space ids: stable, and different for different networks."""

from typing import Any

import pytest

from edgevpr.artifacts.space import check_same_space, space_id
from edgevpr.errors import SpaceMismatchError
from edgevpr.preprocess import Preprocess

BASE: dict[str, Any] = {
    "architecture": {"backbone": "dinov2", "aggregator": "BoQ", "queries": 64},
    "weights_sha256": "ab" * 32,
    "preprocess": Preprocess(height=224, width=224),
    "dim": 12288,
}


def test_the_id_is_readable_and_stable() -> None:
    """An id of another release stays valid."""
    assert space_id(**BASE) == "boq-12288-7e5e50c213c7"
    shuffled = dict(reversed(BASE["architecture"].items()))
    assert space_id(**{**BASE, "architecture": shuffled}) == space_id(**BASE)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("architecture", {"backbone": "dinov2", "aggregator": "BoQ", "queries": 32}),
        ("weights_sha256", "ac" * 32),
        ("preprocess", Preprocess(height=224, width=280)),
        ("preprocess", Preprocess(height=224, width=224, interpolation="cubic")),
        ("dim", 8448),
    ],
)
def test_any_difference_is_another_space(field: str, other: object) -> None:
    assert space_id(**{**BASE, field: other}) != space_id(**BASE)


def test_a_network_without_aggregator_has_an_id() -> None:
    assert space_id({}, "", Preprocess(height=1, width=1), 8).startswith("net-8-")


def test_check_same_space() -> None:
    """The message names both artifacts and both spaces."""
    check_same_space("a-1-x", "bundle B", "a-1-x", "gallery G")
    with pytest.raises(
        SpaceMismatchError, match=r"bundle B.* a-1-x, expected a-1-y.*gallery G.*edgevpr train"
    ):
        check_same_space("a-1-x", "bundle B", "a-1-y", "gallery G")
