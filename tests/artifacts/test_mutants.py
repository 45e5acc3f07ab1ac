"""Damaged artifacts are refused in one sentence or read as they were: a few hundred of them.

``benchmarks/fuzz.py`` tries thousands, index files and sessions of ONNX Runtime included.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import Artifact
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.errors import EdgeVPRError
from edgevpr.runtime.engines.onnx_contract import check_graph
from edgevpr.runtime.gallery.gallery import Gallery
from edgevpr.runtime.open import open_bundle

from ..maps import DIM, write_features
from ..mutants import mutate
from ..runtime.build import write_bundle

COUNT = 120


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("originals")
    write_features(root / "features", range(12))
    build_gallery(root / "features", root / "gallery")
    write_bundle(root / "bundle")
    return root


def open_features(path: Path) -> Artifact:
    features = Features(path)
    assert features.descriptors.dtype == np.float16
    assert features.descriptors.shape == (len(features.table), features.record.dim)
    return features.artifact


def open_gallery(path: Path) -> Artifact:
    gallery = Gallery(path)
    scores, rows = gallery.search(np.eye(DIM, dtype=np.float32)[:3, : gallery.record.dim], 5)
    assert np.isfinite(scores).all()
    assert rows.max() < len(gallery.images)
    assert np.nanmax(np.abs(gallery.images.lat), initial=0) <= 90
    return gallery.artifact


def open_graph(path: Path) -> Artifact:
    """A bundle as far as its graph; no session is made."""
    bundle = open_bundle(path)
    check_graph(bundle.artifact.bytes("model.onnx"), path)
    return bundle.artifact


OPENERS: dict[str, Callable[[Path], Artifact]] = {
    "features": open_features,
    "gallery": open_gallery,
    "bundle": open_graph,
}


@pytest.mark.parametrize("kind", OPENERS)
def test_blind_damage(originals: Path, tmp_path: Path, kind: str) -> None:
    """Whatever opens all the same is the artifact that it was."""
    digest = open_artifact(originals / kind, kind).digest
    opened, longest = [], 0
    for seed in range(COUNT):
        name = mutate(originals / kind, tmp_path / "m", seed, sealed=False)
        try:
            found = OPENERS[kind](tmp_path / "m")
        except EdgeVPRError as error:
            longest = max(longest, len(str(error)))
            continue
        assert found.digest == digest, f"seed {seed}, {name}"
        opened.append(seed)
    assert len(opened) < COUNT / 4
    assert longest < 3000


@pytest.mark.parametrize("kind", OPENERS)
def test_sealed_damage(originals: Path, tmp_path: Path, kind: str) -> None:
    """Nothing but an error of ours, and what opens keeps its contract."""
    refused = longest = 0
    for seed in range(COUNT):
        name = mutate(originals / kind, tmp_path / "m", seed, sealed=True)
        try:
            OPENERS[kind](tmp_path / "m")
        except EdgeVPRError as error:
            refused += 1
            longest = max(longest, len(str(error)))
        except Exception as error:
            raise AssertionError(f"seed {seed}, {name}: {error!r}") from error
    assert refused > COUNT / 4
    assert longest < 3000
