"""Features artifacts: written, opened, and several joined to one."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

import edgevpr.artifacts.features as module
from edgevpr.artifacts.features import Features, join
from edgevpr.artifacts.folder import write_artifact
from edgevpr.artifacts.manifest import write_json
from edgevpr.errors import CorruptArtifactError, DataError, SpaceMismatchError
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.projection import l2_normalize

SPACE = "boq-16-0123456789ab"


def write(
    path: Path, count: int, *, seed: int, prefix: str = "", space: str = SPACE, model: str = "m"
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    descriptors = l2_normalize(rng.normal(size=(count, 16))).astype(np.float16)
    table = ImageTable.build(
        [f"{prefix}{i:03}.jpg" for i in range(count)],
        place=np.arange(count),
        easting=np.arange(count),
    )
    Features.write(
        path, descriptors, table, space=space, model_digest=model, preprocess=Preprocess(64, 64),
        source=path.name,
    )  # fmt: skip
    return descriptors


def test_rows_of_all_parts_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of 3 rows, so that a part ends inside of one."""
    monkeypatch.setattr(module, "_AT_ONCE", 3 * 2 * 16)
    first = write(tmp_path / "a", 7, seed=0, prefix="a")
    second = write(tmp_path / "b", 4, seed=1, prefix="b")
    record = join([tmp_path / "b", tmp_path / "a"], tmp_path / "both")
    both = Features(tmp_path / "both")
    assert record.count == 11
    assert both.record == record
    assert both.space == SPACE
    np.testing.assert_array_equal(both.descriptors, np.vstack([second, first]))
    assert both.table.paths[3:5] == ["b003.jpg", "a000.jpg"]
    assert both.table.easting.tolist() == [*range(4), *range(7)]


def test_the_same_path_in_two_parts(tmp_path: Path) -> None:
    """Cameras call every day's first frame 000.jpg."""
    write(tmp_path / "monday", 2, seed=0)
    write(tmp_path / "tuesday", 1, seed=1)
    join([tmp_path / "monday", tmp_path / "tuesday"], tmp_path / "both")
    paths = Features(tmp_path / "both").table.paths
    assert paths == ["monday/000.jpg", "monday/001.jpg", "tuesday/000.jpg"]


def test_nothing_tells_two_parts_apart(tmp_path: Path) -> None:
    write(tmp_path / "one" / "day", 2, seed=0)
    write(tmp_path / "two" / "day", 2, seed=1)
    with pytest.raises(DataError, match=r"named day.*rename"):
        join([tmp_path / "one" / "day", tmp_path / "two" / "day"], tmp_path / "both")
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    ("other", "says"),
    [({"space": "boq-16-ffffffffffff"}, "descriptor space"), ({"model": "n"}, "another network")],
)
def test_parts_that_must_not_be_mixed(tmp_path: Path, other: dict[str, str], says: str) -> None:
    write(tmp_path / "a", 2, seed=0, prefix="a")
    write(tmp_path / "b", 2, seed=1, prefix="b", **other)
    with pytest.raises(SpaceMismatchError, match=says):
        join([tmp_path / "a", tmp_path / "b"], tmp_path / "both")


def test_a_record_that_does_not_fit_its_rows(tmp_path: Path) -> None:
    write(tmp_path / "a", 3, seed=0)
    record = msgspec.structs.replace(Features(tmp_path / "a").record, count=4)
    with write_artifact(tmp_path / "b", "features", space=SPACE) as folder:
        for name in ("descriptors.npy", "images.csv"):
            (folder / name).write_bytes((tmp_path / "a" / name).read_bytes())
        write_json(folder / "features.json", record)
    with pytest.raises(CorruptArtifactError, match=r"descriptors\.npy, expected float16 of shape"):
        Features(tmp_path / "b")


def test_written_from_an_array_from_blocks_and_from_a_file(tmp_path: Path) -> None:
    descriptors = write(tmp_path / "array", 7, seed=0)
    table = Features(tmp_path / "array").table
    about = {"space": SPACE, "model_digest": "m", "preprocess": Preprocess(64, 64), "source": "s"}
    blocks = (descriptors[i : i + 3].astype(np.float32) for i in range(0, 7, 3))
    Features.write(tmp_path / "blocks", blocks, table, **about, config={"batch_size": 3})
    np.save(tmp_path / "d.npy", descriptors)
    record = Features.write(tmp_path / "file", tmp_path / "d.npy", table, **about, role="query")
    assert (record.count, record.dim, record.role) == (7, 16, "query")
    assert np.load(tmp_path / "d.npy").shape == (7, 16)  # stays until the artifact stands
    for name in ("array", "blocks", "file"):
        np.testing.assert_array_equal(Features(tmp_path / name).descriptors, descriptors)
    assert (tmp_path / "blocks" / "config.json").is_file()
    assert not (tmp_path / "array" / "config.json").exists()


def test_rows_that_are_not_as_many_as_the_images(tmp_path: Path) -> None:
    descriptors = write(tmp_path / "a", 3, seed=0)
    table = Features(tmp_path / "a").table
    about = {"space": SPACE, "model_digest": "m", "preprocess": Preprocess(64, 64), "source": "s"}
    with pytest.raises(ValueError, match="2 descriptors"):
        Features.write(tmp_path / "b", descriptors[:2], table, **about)
    assert not (tmp_path / "b").exists()


def test_descriptors_that_are_none(tmp_path: Path) -> None:
    """Of another type, or not of unit length."""
    good = write(tmp_path / "a", 3, seed=0)
    table = Features(tmp_path / "a").table
    about = {"space": SPACE, "model_digest": "m", "preprocess": Preprocess(64, 64), "source": "s"}
    for change, says in (
        (good.astype(np.float32), "found float32"),
        (good * np.float16(2), "length 2 for 000.jpg"),
        (good * np.float16(0), "length 0 for 000.jpg"),
    ):
        np.save(tmp_path / "d.npy", change)
        Features.write(tmp_path / "b", tmp_path / "d.npy", table, **about)
        with pytest.raises(CorruptArtifactError, match=says):
            Features(tmp_path / "b")
