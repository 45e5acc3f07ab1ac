"""Descriptor space ids, and the check that two artifacts are of one space.

A space is defined by the gallery network that made it. A query network is trained *into* a space
and carries its id; a gallery is built *in* a space. Similarities across spaces mean nothing, so
every verb that brings two artifacts together calls ``check_same_space``.
"""

import hashlib
from typing import Any

import msgspec

from edgevpr.errors import SpaceMismatchError
from edgevpr.preprocess import Preprocess


def space_id(
    architecture: dict[str, Any], weights_sha256: str, preprocess: Preprocess, dim: int
) -> str:
    """A short, readable id: ``<aggregator>-<D>-<12 hex digits>``.

    The digits hash the gallery network's architecture, the digest of its weights, its
    preprocessing and D; two networks that differ in any of these never share a space.
    """
    identity = [architecture, weights_sha256, msgspec.to_builtins(preprocess), dim]
    digest = hashlib.sha256(msgspec.json.encode(identity, order="sorted")).hexdigest()
    return f"{architecture.get('aggregator', 'net')}-{dim}-{digest[:12]}".lower()


def check_same_space(found: str, found_in: str, expected: str, expected_in: str) -> None:
    """Raise unless both artifacts live in one descriptor space.

    Raises:
        SpaceMismatchError: names both artifacts, both spaces, and what to do.
    """
    if found != expected:
        raise SpaceMismatchError(
            f"found {found_in} in descriptor space {found}, expected {expected}, that of "
            f"{expected_in}, because descriptors of different spaces cannot be compared: use "
            "artifacts made from the same gallery network, or run edgevpr train / index / compile "
            "again with it"
        )
