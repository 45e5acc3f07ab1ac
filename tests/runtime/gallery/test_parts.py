"""Search over changed galleries and near a point, against brute force."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgevpr.artifacts.generations import rollback
from edgevpr.compile.gallery_updates import change
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.errors import CorruptArtifactError, DataError, UsageError
from edgevpr.places.near import Near
from edgevpr.places.wgs84 import METRES_PER_DEGREE
from edgevpr.retrieval.projection import l2_normalize
from edgevpr.runtime import Gallery
from edgevpr.runtime.gallery import selection

from ...maps import LAT, LON, STEP_M, VIEWS, place_vectors, write_features

PLACES, NEW = 120, 20
#: Index -> whether it stores vectors, so that brute force over them is what it must equal.
KINDS = {
    "Flat": True,
    "SQ8": False,
    "IVF8,PQ16x4np": False,
    "OPQ16_64,IVF8,PQ16x4np": False,
    "IVF8,PQ16x4np,Refine(SQfp16)": True,
    "OPQ16_64,IVF8,PQ32x4fsr,Refine(Flat)": True,
    "IVF8,PQ32x4fsr": False,
    "IVF8,PQ32x4fsr,Refine(SQfp16)": True,
    "PQ32x4fs": False,
    "PQ32x4fs,Refine(SQfp16)": True,
    "IVF8,RaBitQ": False,
    "HNSW16": True,
}


def queries(count: int = 60) -> NDArray[np.float32]:
    noise = np.random.default_rng(1).normal(size=(count, 64)) / 30
    return l2_normalize(place_vectors(range(count))[::VIEWS] + noise)


@pytest.fixture(scope="module", params=KINDS)
def changed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of PLACES places and NEW added ones, without places 4 and PLACES + 4."""
    root = tmp_path_factory.mktemp("delta")
    write_features(root / "own", range(PLACES))
    write_features(root / "new", range(PLACES, PLACES + NEW), prefix="new")
    build_gallery(root / "own", root / "g", options=IndexOptions(factory=request.param))
    change.add(root / "g", root / "new")
    change.remove(root / "g", place=[4, PLACES + 4])
    return root / "g"


def whole(gallery: Gallery) -> NDArray[np.float32]:
    """(Q, N) score of every image for every query, as this index scores it."""
    vectors = place_vectors(range(PLACES + NEW)).astype(np.float16).astype(np.float32)
    if KINDS[gallery.record.factory]:
        return queries() @ vectors.T
    scores = np.full((len(queries()), len(gallery.images)), -1.0, np.float32)
    everything = Gallery(gallery.artifact.path, parameters=_everywhere(gallery.record.factory))
    found, rows = everything.search(queries(), len(gallery.images))
    for i in range(len(rows)):
        scores[i, rows[i][rows[i] >= 0]] = found[i][rows[i] >= 0]
    return scores


def _everywhere(factory: str) -> str:
    """Parameters with which an index looks at every image, at its finest."""
    parts = ["nprobe=8"] * ("IVF" in factory) + ["k_factor_rf=64"] * ("Refine" in factory)
    return ",".join(parts + ["efSearch=500"] * ("HNSW" in factory))


def check(gallery: Gallery, mask: NDArray[np.bool_], within: Near | NDArray[np.bool_]) -> None:
    """The answers are the best among ``mask`` by brute force, and nothing else."""
    scores, rows = gallery.search(queries(), 20, within)
    best = np.where(mask, whole(gallery), -2)
    order = np.argsort(-best, axis=1)[:, :20]
    count = min(20, int(mask.sum()))
    assert mask[rows[:, :count]].all()
    assert (rows[:, count:] == -1).all()
    expected = np.take_along_axis(best, order, axis=1)[:, :count]
    np.testing.assert_allclose(scores[:, :count], expected, atol=2e-3)


def test_added_and_removed(changed: Path) -> None:
    """Added images are found and scored as the map's own; removed ones are not found."""
    gallery = Gallery(changed, parameters=_everywhere(_factory(changed)))
    assert not gallery.live[4 * VIEWS]
    assert gallery.live.sum() == VIEWS * (PLACES + NEW - 2)
    _, rows = gallery.search(place_vectors(range(PLACES + NEW)), 5)
    own = np.arange(len(gallery.images))
    places = gallery.images.place[rows[:, 0]]
    found = places == gallery.images.place
    # PQ and RaBitQ codes alone confuse some places: 93 to 100% measured, all kinds
    assert found[gallery.live & (own < PLACES * VIEWS)].mean() > 0.9
    assert found[gallery.live & (own >= PLACES * VIEWS)].mean() > 0.9
    assert gallery.live[rows].all()
    check(gallery, gallery.live, gallery.live)


@pytest.mark.parametrize("radius", [30.0, 10.5 * STEP_M, 1e6])
def test_near_a_point(changed: Path, radius: float) -> None:
    """Answers are exactly the live images near: of one place, a sixth of the map, all."""
    gallery = Gallery(changed)
    place = PLACES - 5
    metres_a_degree = METRES_PER_DEGREE * np.cos(np.radians(LAT))
    here = Near(LAT, LON + place * STEP_M / metres_a_degree, radius)
    distance = np.abs(gallery.images.place - place) * STEP_M
    mask = (distance <= radius) & gallery.live
    if radius < 1e6:
        check(gallery, mask, here)
    else:
        _, rows = gallery.search(queries(), 20, here)
        _, free = gallery.search(queries(), 20)
        assert (rows == free).mean() > 0.95  # probes are thinned by the two places removed


def test_selectors(changed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameters reach the lists through re-ranking and transforms: no selection is small
    enough to be compared one by one here."""
    monkeypatch.setattr(selection, "FEW", 0)
    gallery = Gallery(changed, parameters=_everywhere(_factory(changed)))
    mask = np.random.default_rng(2).random(len(gallery.images)) < 0.3
    check(gallery, mask & gallery.live, mask)


def test_a_prior_that_moves(changed: Path) -> None:
    gallery = Gallery(changed)
    metres_a_degree = METRES_PER_DEGREE * np.cos(np.radians(LAT))
    for place in (2, 3, 2, PLACES + 1):
        here = Near(LAT, LON + place * STEP_M / metres_a_degree, 20)
        _, rows = gallery.search(queries(3), 20, here)
        assert (gallery.images.place[rows[:, :VIEWS]] == place).all()
        assert (rows[:, VIEWS:] == -1).all()


def _factory(gallery: Path) -> str:
    return Gallery(gallery, verify=False).record.factory


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    build_gallery(
        write_features(tmp_path / "own", range(40)),
        tmp_path / "g",
        options=IndexOptions(factory="IVF2,PQ32x4fsr,Refine(SQfp16)"),
    )
    return tmp_path / "g"


def test_a_prior_outside_the_map(plain: Path) -> None:
    gallery = Gallery(plain)
    with pytest.raises(DataError, match=r"111\d\d\d m from there.*48\.00000 to 48\.00000 N"):
        gallery.search(queries(1), within=Near(LAT - 1, LON, 100))
    for wrong in ("48,11", "48,11,x", "91,11,100", "48,11,0", "48,11,nan", "48,181,9"):
        with pytest.raises(UsageError, match=r"`near` 48\.137,11\.575,200"):
            Near.parse(wrong)
    change.remove(plain, near=Near(LAT, LON, 20))
    with pytest.raises(DataError, match="50 m from there"):
        Gallery(plain).search(queries(1), within=Near(LAT, LON, 20))


def test_distances_on_the_ground() -> None:
    """A degree of latitude is 110.574 km at the equator and 111.694 km at the poles; one of
    longitude at 60 degrees 55.800 km."""
    from edgevpr.places.near import Positions
    from edgevpr.places.table import ImageTable

    for at, to, metres in (
        ((0, 10), (1, 10), 110_574),
        ((89, 0), (90, 77), 111_694),
        ((60, 10), (60, 11), 55_800),
        ((0, 179.5), (0, -179.5), 111_319),
    ):
        lat, lon = ([float(v)] for v in to)
        table = ImageTable.build(["a"], lat=lat, lon=lon, easting=[0], northing=[0])
        positions = Positions(table)
        assert positions.near(Near(*at, metres + 10)).all()
        with pytest.raises(DataError):
            positions.near(Near(*at, metres - 10))


def test_nothing_extra_where_nothing_changed(plain: Path) -> None:
    """No selectors and no second search."""
    gallery = Gallery(plain)
    gallery._parts.search = None  # type: ignore[assignment,method-assign]
    gallery.search(queries(2))
    assert not gallery.replaced


def test_a_reader_keeps_what_it_opened(plain: Path, tmp_path: Path) -> None:
    """And is told of the new one."""
    reader = Gallery(plain)
    before = reader.search(queries(40))
    new = write_features(tmp_path / "new", range(40, 60), prefix="new")
    change.add(plain, new)
    change.remove(plain, place=list(range(30)))
    change.compact(plain, keep=0)
    shutil.rmtree(plain)
    assert reader.replaced
    after = reader.search(queries(40))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(reader.images) == 120


def test_opened_while_it_is_replaced(plain: Path, tmp_path: Path) -> None:
    """Files are of one gallery: the other has as many images, in the opposite order, so that only
    the answers tell."""
    backwards = place_vectors(range(40))[::-1]
    other = write_features(tmp_path / "other", range(40), prefix="back", vectors=backwards)
    stop = threading.Event()

    def replace() -> None:
        for i in range(10_000):
            if stop.is_set():
                return
            features = (other, tmp_path / "own")[i % 2]
            build_gallery(features, plain, options=IndexOptions(factory="Flat"))
            if i % 3 == 0:
                change.remove(plain, place=[5])
                rollback(plain)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        seen = set()
        for _ in range(60):
            gallery = Gallery(plain, parameters="", verify=False)
            _, rows = gallery.search(place_vectors(range(1))[:1], 1)
            seen.add(gallery.images.paths[int(rows[0, 0])])
    finally:
        stop.set()
        thread.join()
    assert seen <= {"map/00000-0.jpg", "back/00039-2.jpg"}


def test_records_that_disagree(plain: Path) -> None:
    change.remove(plain, place=[3])
    for rows in ([9, 10], [9, 10, 500], [9, 9, 10], [-1, 9, 10]):
        np.save(plain / "removed.npy", np.array(rows, np.int64))
        with pytest.raises(CorruptArtifactError):
            Gallery(plain, verify=False)
