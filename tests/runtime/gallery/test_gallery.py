"""The gallery on a device: search, and refusals."""

import shutil
from pathlib import Path

import faiss
import msgspec
import numpy as np
import pytest

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import MANIFEST, Artifact, read_json, write_json
from edgevpr.artifacts.records import BundleRecord, GalleryRecord
from edgevpr.errors import (
    ArtifactError,
    ArtifactVersionError,
    CorruptArtifactError,
    NumericsError,
    SpaceMismatchError,
    UsageError,
)
from edgevpr.runtime import Gallery

from ..build import (
    DIM,
    PLACES,
    SPACE,
    VIEWS,
    World,
    describe,
    place_image,
    write_bundle,
    write_features,
)


def reseal(source: Path, target: Path, **changes: object) -> Path:
    """A copy of a gallery whose record says something else, with a manifest that agrees."""
    with write_artifact(target, "gallery", space=SPACE) as to:
        for file in source.iterdir():
            if file.name != MANIFEST:
                shutil.copy(file, to / file.name)
        record = read_json(source / "gallery.json", GalleryRecord)
        write_json(to / "gallery.json", msgspec.structs.replace(record, **changes))
    return target


def test_finds_the_place_of_each_image(world: World) -> None:
    """Rows are those of the image table, and scores are cosines."""
    gallery = Gallery(world.gallery)
    queries = describe([place_image(p) for p in range(PLACES)], world.bundle)
    scores, rows = gallery.search(queries)
    assert (gallery.images.place[rows[:, 0]] == np.arange(PLACES)).all()
    stored = describe([place_image(p, 1) for p in range(PLACES)], world.bundle)
    first = [queries[p] @ stored[p] for p in range(PLACES)]
    best = scores[:, 0]
    # fp16 store: cosine to three digits; the best view is at least as close as view 1
    assert (best >= np.array(first) - 2e-3).all()
    assert best.max() <= 1.001


def test_single_and_batched_searches_agree(world: World) -> None:
    gallery = Gallery(world.gallery)
    queries = describe([place_image(p) for p in range(8)], world.bundle)
    _, together = gallery.search(queries)
    alone = np.vstack([gallery.search(q[None])[1] for q in queries])
    assert (together == alone).all()


def test_projects_full_descriptors_itself(world: World, tmp_path: Path) -> None:
    """And does not project those of the index's width again."""
    from edgevpr.compile.index.build_index import build_gallery
    from edgevpr.compile.index.index_options import IndexOptions

    build_gallery(world.features, tmp_path / "g", options=IndexOptions(dim=16))
    gallery = Gallery(tmp_path / "g")
    fused = write_bundle(tmp_path / "fused", gallery=tmp_path / "g")
    gallery.check_bundle(*opened(fused))
    gallery.check_bundle(*opened(world.bundle))
    images = [place_image(p) for p in range(PLACES)]
    in_graph, here = describe(images, fused), describe(images, world.bundle)
    assert in_graph.shape == (PLACES, 16)
    assert here.shape == (PLACES, DIM)
    scores_graph, rows_graph = gallery.search(in_graph)
    scores_here, rows_here = gallery.search(here)
    np.testing.assert_allclose(scores_graph[:, 0], scores_here[:, 0], atol=1e-4)
    assert (gallery.images.place[rows_graph[:, 0]] == np.arange(PLACES)).mean() > 0.9
    assert (rows_graph[:, 0] == rows_here[:, 0]).mean() > 0.95


def opened(bundle: Path) -> tuple[Artifact, BundleRecord]:
    a = open_artifact(bundle, "bundle")
    return a, a.read("bundle.json", BundleRecord)


def test_refuses_a_bundle_of_another_space(world: World, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "b", space="boq-48-ffffffffffff")
    with pytest.raises(SpaceMismatchError, match="boq-48-ffffffffffff"):
        Gallery(world.gallery).check_bundle(*opened(other))


def test_refuses_a_bundle_with_another_projection(world: World, tmp_path: Path) -> None:
    """Of the same width, fused for another gallery."""
    from edgevpr.compile.index.build_index import build_gallery
    from edgevpr.compile.index.index_options import IndexOptions

    build_gallery(world.features, tmp_path / "a", options=IndexOptions(dim=16))
    half = write_features(
        tmp_path / "half", np.load(world.features / "descriptors.npy")[: 30 * VIEWS]
    )
    build_gallery(half, tmp_path / "b", options=IndexOptions(dim=16))
    fused = write_bundle(tmp_path / "fused", gallery=tmp_path / "a")
    with pytest.raises(ArtifactError, match=r"edgevpr compile MODEL --gallery .*b again"):
        Gallery(tmp_path / "b").check_bundle(*opened(fused))
    with pytest.raises(ArtifactError, match="no projection"):
        Gallery(world.gallery).check_bundle(*opened(fused))


def test_truncated_index(world: World, tmp_path: Path) -> None:
    copy = tmp_path / "g"
    shutil.copytree(world.gallery, copy)
    with (copy / "index.faiss").open("r+b") as stream:
        stream.truncate(1000)
    with pytest.raises(CorruptArtifactError, match="1000 bytes"):
        Gallery(copy)


def test_index_of_a_newer_faiss(world: World, tmp_path: Path) -> None:
    """The message names the version to install."""
    copy = tmp_path / "source"
    shutil.copytree(world.gallery, copy)
    data = (copy / "index.faiss").read_bytes()
    (copy / "index.faiss").write_bytes(b"Zz99" + data[4:])
    newer = reseal(copy, tmp_path / "newer", faiss_version="99.0")
    with pytest.raises(ArtifactVersionError, match=r"pip install 'faiss-cpu>=99\.0'"):
        Gallery(newer)
    same = reseal(copy, tmp_path / "same", faiss_version=faiss.__version__)
    with pytest.raises(CorruptArtifactError, match="edgevpr index"):
        Gallery(same)


def test_record_of_another_index(world: World, tmp_path: Path) -> None:
    other = reseal(world.gallery, tmp_path / "g", count=7)
    with pytest.raises(CorruptArtifactError, match="its record says, 7"):
        Gallery(other)


def test_nan_and_wrong_width(world: World) -> None:
    """FAISS answers NaN with a place."""
    gallery = Gallery(world.gallery)
    bad = np.full((1, DIM), 1 / np.sqrt(DIM), np.float32)
    bad[0, 3] = np.nan
    with pytest.raises(NumericsError, match="NaN"):
        gallery.search(bad)
    with pytest.raises(ArtifactError, match="5 numbers"):
        gallery.search(np.ones((1, 5), np.float32))


def test_search_parameters_verbatim(world: World) -> None:
    assert Gallery(world.gallery).parameters.startswith("nprobe=")
    one = Gallery(world.gallery, parameters="nprobe=1,k_factor_rf=1")
    assert faiss.extract_index_ivf(one._index).nprobe == 1
    with pytest.raises(UsageError, match="nprob=3"):
        Gallery(world.gallery, parameters="nprob=3")
