"""Descriptor files of other programs: rows, their images, the space they are of, and refusals."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import edgevpr.data.descriptor_file as importing
from edgevpr.artifacts.features import Features, join
from edgevpr.cli.main import explain, run
from edgevpr.compile.gallery_updates.change import add
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.compile.index.index_options import IndexOptions
from edgevpr.data.descriptor_file import import_descriptors
from edgevpr.errors import DataError, SpaceMismatchError, UsageError
from edgevpr.runtime.gallery.gallery import Gallery

DIM = 16


def rows_of(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Rows of unequal length, so that a missing division shows."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, DIM)) * rng.uniform(0.1, 30, (count, 1))
    return values.astype(np.float32)


def names_of(count: int, folder: str = "database") -> list[str]:
    return [f"{folder}/@{500000 + 40 * i}.00@4649776.22@33@T@@@@@@@@@@@.jpg" for i in range(count)]


def saved(folder: Path, values: NDArray[np.generic], names: list[str]) -> tuple[Path, Path]:
    np.save(folder / "d.npy", values)
    (folder / "d.txt").write_text("\n".join(names) + "\n")
    return folder / "d.npy", folder / "d.txt"


def test_rows_are_divided_by_their_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64, over several blocks, also where float32 squares overflow or vanish."""
    monkeypatch.setattr(importing, "_AT_ONCE", 3 * 8 * DIM)
    values = rows_of(10)
    values[2] *= 1e30
    values[3] *= 1e-30
    names = names_of(10)
    record = import_descriptors(*saved(tmp_path, values, names), tmp_path / "f", network="net")
    features = Features(tmp_path / "f")
    wide = values.astype(np.float64)
    expected = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    assert features.descriptors.dtype == np.float16
    np.testing.assert_array_equal(features.descriptors, expected.astype(np.float16))
    assert features.table.paths == names
    np.testing.assert_array_equal(features.table.easting, 500000 + 40.0 * np.arange(10))
    assert (record.count, record.dim, record.role, record.preprocess) == (10, DIM, "gallery", None)


@pytest.mark.parametrize("kind", [np.float16, np.float64, ">f4"])
def test_other_types_and_orders_are_read(tmp_path: Path, kind: str) -> None:
    values = rows_of(6)
    stored = np.asfortranarray(values.astype(kind))
    import_descriptors(*saved(tmp_path, stored, names_of(6)), tmp_path / "f", network="net")
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    np.testing.assert_allclose(Features(tmp_path / "f").descriptors, unit, atol=2e-3)


def test_files_of_one_network_are_of_one_space(tmp_path: Path) -> None:
    """Name, weights and D define it; another of any of them is another space."""
    files = saved(tmp_path, rows_of(5), names_of(5))
    for name, content in (("w1", b"1"), ("w2", b"2")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "other").mkdir()
    other = saved(tmp_path / "other", rows_of(4, seed=1), names_of(4, "queries"))
    import_descriptors(*files, tmp_path / "a", network="net", checkpoint=tmp_path / "w1")
    import_descriptors(*other, tmp_path / "b", network="net", checkpoint=tmp_path / "w1")
    joined = join([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert joined.count == 9
    space = Features(tmp_path / "a").space
    assert space.startswith(f"imported-{DIM}-")
    spaces = {space}
    narrow = saved(tmp_path / "other", rows_of(4)[:, :8], names_of(4))
    for number, (given, network, weights) in enumerate(
        [
            (files, "net", "w2"), (files, "net", ""), (files, "other", "w1"), (narrow, "net", "w1"),
        ]
    ):  # fmt: skip
        out = tmp_path / f"x{number}"
        checkpoint = tmp_path / weights if weights else None
        import_descriptors(*given, out, network=network, checkpoint=checkpoint)
        spaces.add(Features(out).space)
    assert len(spaces) == 5


def test_a_space_can_be_joined(tmp_path: Path) -> None:
    """Descriptors computed elsewhere are added to a map of the same network."""
    files = saved(tmp_path, rows_of(40), names_of(40))
    import_descriptors(*files, tmp_path / "map", network="net")
    build_gallery([tmp_path / "map"], tmp_path / "gallery", options=IndexOptions(factory="Flat"))
    (tmp_path / "new").mkdir()
    new = saved(tmp_path / "new", rows_of(3, seed=1), names_of(3, "new"))
    import_descriptors(*new, tmp_path / "added", space_of=tmp_path / "map")
    first, second = Features(tmp_path / "map"), Features(tmp_path / "added")
    assert (second.space, second.record.model_digest) == (first.space, first.record.model_digest)
    add(tmp_path / "gallery", tmp_path / "added")
    gallery = Gallery(tmp_path / "gallery")
    assert len(gallery.images) == 43


def test_tables_give_places(tmp_path: Path) -> None:
    """A .csv with any of its columns, in the order of the rows; 0, 0 is no place."""
    np.save(tmp_path / "d.npy", rows_of(2))
    table = tmp_path / "images.csv"
    table.write_text("path,lat,lon\na.jpg,48.1,11.5\nb.jpg,48.2,11.6\n")
    import_descriptors(tmp_path / "d.npy", table, tmp_path / "f", network="net")
    stored = Features(tmp_path / "f").table
    assert stored.paths == ["a.jpg", "b.jpg"]
    np.testing.assert_array_equal(stored.lat, [48.1, 48.2])
    assert stored.located.all()
    table.write_text("path,lat,lon\na.jpg,48.1,11.5\nb.jpg,0,0\n")
    with pytest.raises(DataError, match=r"1 of the 2 images .* without a place, .* b\.jpg"):
        import_descriptors(tmp_path / "d.npy", table, tmp_path / "g", network="net")


def test_paths_become_relative(tmp_path: Path) -> None:
    files = saved(tmp_path, rows_of(2), [f"{tmp_path}/set/{name}" for name in names_of(2)])
    root = tmp_path / "set" / "database"
    import_descriptors(*files, tmp_path / "f", network="net", root=root)
    assert Features(tmp_path / "f").table.paths == [Path(n).name for n in names_of(2)]
    with pytest.raises(DataError, match="expected images below the `root`"):
        import_descriptors(*files, tmp_path / "g", network="net", root=tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("value", "found"), [(0.0, "all zeros"), (np.nan, "NaN"), (-np.inf, "NaN or infinite")]
)
def test_rows_that_are_no_descriptors_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, found: str
) -> None:
    """Row and image, in a block that is not the first; nothing is written."""
    monkeypatch.setattr(importing, "_AT_ONCE", 2 * 8 * DIM)
    values = rows_of(5)
    values[3] = value
    files = saved(tmp_path, values, names_of(5))
    with pytest.raises(DataError, match=rf"{found}.* in row 3 of .*@500120\.00@"):
        import_descriptors(*files, tmp_path / "f", network="net")
    assert not (tmp_path / "f").exists()


def test_counts_must_agree(tmp_path: Path) -> None:
    files = saved(tmp_path, rows_of(5), names_of(4))
    with pytest.raises(DataError, match=r"5 descriptors in .* and 4 images"):
        import_descriptors(*files, tmp_path / "f", network="net")


class Planted:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("planted", "w")


def test_what_is_no_array_is_refused_and_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, names = saved(tmp_path, rows_of(2), names_of(2))
    bad = tmp_path / "bad.npy"
    whole = (tmp_path / "d.npy").read_bytes()

    def write(content: bytes) -> None:
        bad.write_bytes(content)

    np.savez(tmp_path / "z.npz", rows_of(2))
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([Planted(), None]), allow_pickle=True)
    three = tmp_path / "three.npy"
    np.save(three, np.zeros((2, 2, 2), np.float32))
    integers = tmp_path / "integers.npy"
    np.save(integers, np.zeros((2, 2), np.int64))
    empty = tmp_path / "empty.npy"
    np.save(empty, np.zeros((0, 4), np.float32))
    for content in (
        b"", whole[:-5], whole[:40], pickle.dumps(Planted()), objects.read_bytes(),
        (tmp_path / "z.npz").read_bytes(), three.read_bytes(), integers.read_bytes(),
        empty.read_bytes(),
    ):  # fmt: skip
        write(content)
        with pytest.raises(DataError, match=r"found .*, expected a \.npy file of \(N, D\) float32"):
            import_descriptors(bad, names, tmp_path / "f", network="net")
    with pytest.raises(DataError, match=r"found no .*none"):
        import_descriptors(tmp_path / "none", names, tmp_path / "f", network="net")
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.jpg", "b.jpg"], "expected one that starts with @utm_east@utm_north@"),
        ([names_of(1)[0]] * 2, "twice"),
        (["@x@y@.jpg", "@1@2@.jpg"], "expected"),
        ([names_of(1)[0], "", names_of(2)[1]], "expected"),
    ],
)
def test_lists_that_name_no_places_are_refused(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    files = saved(tmp_path, rows_of(len(lines)), lines)
    with pytest.raises(DataError, match=message):
        import_descriptors(*files, tmp_path / "f", network="net")


def test_the_space_is_asked_for(tmp_path: Path) -> None:
    files = saved(tmp_path, rows_of(2), names_of(2))
    with pytest.raises(UsageError, match="neither `network` nor `space_of`"):
        import_descriptors(*files, tmp_path / "f")
    import_descriptors(*files, tmp_path / "f", network="net")
    with pytest.raises(UsageError, match="`space_of` with `network`"):
        import_descriptors(*files, tmp_path / "g", network="net", space_of=tmp_path / "f")
    with pytest.raises(DataError, match="expected the network's weights"):
        import_descriptors(*files, tmp_path / "g", network="net", checkpoint=tmp_path / "none")
    narrow = saved(tmp_path, rows_of(2)[:, :8], names_of(2))
    with pytest.raises(SpaceMismatchError, match=r"8-d .* expected 16-d"):
        import_descriptors(*narrow, tmp_path / "g", space_of=tmp_path / "f")


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line reaches it, and spells its parameters as flags."""
    values, names = map(str, saved(tmp_path, rows_of(3), names_of(3)))
    words = ["features", "import", values, names, "-o", str(tmp_path / "f")]
    with pytest.raises(UsageError) as caught:
        run(words)
    code, sentence = explain(caught.value)
    assert code == 2
    assert "neither --network nor --space-of" in sentence
    run([*words, "--network", "net", "--json"])
    assert json.loads(capsys.readouterr().out)["count"] == 3
