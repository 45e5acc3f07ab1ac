"""Mapillary Street-Level Sequences on a miniature copy: two cities, a handful of images."""

from pathlib import Path

import numpy as np
import pytest

from edgevpr.data.msls import read_msls_val
from edgevpr.data.protocols import protocol, read_evaluation
from edgevpr.errors import DataError
from edgevpr.places.utm import to_utm

#: key -> (metres east of the city's centre, in the subtask, panorama).
DATABASE = {"d0": (0, True, False), "d1": (400, True, False), "dp": (800, True, True)}
QUERIES = {
    "near": (20, True, False),
    "far": (100, True, False),
    "pano": (1, True, True),
    "other": (399, False, False),
    "edge": (425, True, False),
}
CENTRES = {"cph": (55.68, 12.57), "sf": (37.77, -122.42)}


def write(root: Path, *, shift: float = 0.0) -> None:
    """Metres of postprocessed.csv; degrees are of a point ``shift`` metres further north."""
    for city, (lat, lon) in CENTRES.items():
        east, north, _, _ = to_utm(lat, lon)
        for side, images in (("database", DATABASE), ("query", QUERIES)):
            folder = root / "train_val" / city / side
            (folder / "images").mkdir(parents=True)
            places = [",key,easting,northing,night,view_direction"]
            raw = [",key,lon,lat,ca,captured_at,pano"]
            subtasks = [",key,all,s2w"]
            for i, (name, (metres, chosen, pano)) in enumerate(images.items()):
                key = f"{city}_{name}"
                places.append(f"{i},{key},{east[0] + metres},{north[0]},False,Forward")
                # a degree of longitude is 111,320 m times the cosine of the latitude
                away = metres / (111320 * np.cos(np.radians(lat)))
                moved = lat + (shift / 111320 if side == "query" else 0)
                raw.append(f"{i},{key},{lon + away},{moved},90.0,2019-01-01,{pano}")
                subtasks.append(f"{i},{key},{chosen},False")
                (folder / "images" / f"{key}.jpg").write_bytes(b"jpeg")
            for table, lines in (
                ("postprocessed", places), ("raw", raw), ("subtask_index", subtasks),
            ):  # fmt: skip
                (folder / f"{table}.csv").write_text("\n".join(lines) + "\n")


def names(paths: list[str]) -> list[str]:
    return [Path(path).stem for path in paths]


def lists(folder: Path, *, prefix: str = "train_val/", openvprlab: bool = False) -> None:
    """As gsv-cities or OpenVPRLab write them; the queries are listed backwards."""

    def paths(side: str, short: list[str]) -> list[str]:
        return [
            f"{prefix}{city}/{side}/images/{city}_{name}.jpg" for city in CENTRES for name in short
        ]

    folder.mkdir(exist_ok=True)
    database = np.array(paths("database", ["d0", "d1"]))
    queries = np.array(paths("query", ["near", "far", "edge"])[::-1])
    used = np.array([i for i, path in enumerate(queries) if "far" not in path])
    pickled = np.array([np.array([0]), np.array([0, 1])], dtype=object)
    if openvprlab:
        np.save(folder / "msls_val_ref_image_names.npy", database)
        np.save(folder / "msls_val_query_image_names.npy", queries[used])
        np.save(folder / "msls_val_ground_truth_25m.npy", pickled)
    else:
        np.save(folder / "msls_val_dbImages.npy", database)
        np.save(folder / "msls_val_qImages.npy", queries)
        np.save(folder / "msls_val_qIdx.npy", used)
        np.save(folder / "msls_val_pIdx.npy", pickled)


def test_the_full_protocol_takes_every_image_that_is_no_panorama(tmp_path: Path) -> None:
    """By the degrees, which put every query 200 m away here; none is dropped for it."""
    write(tmp_path, shift=200)
    found = read_evaluation(protocol("msls-val-full"), tmp_path)
    short = ["near", "far", "other", "edge"]
    assert names(found.queries.paths) == [f"{city}_{name}" for city in CENTRES for name in short]
    assert names(found.database.paths) == ["cph_d0", "cph_d1", "sf_d0", "sf_d1"]
    assert [len(good) for good in found.positives()] == [0] * 8
    assert found.queries.heading.tolist() == [90] * 8


def test_the_subtask_by_its_metres(tmp_path: Path) -> None:
    """Without panoramas, other subtasks and queries that nothing within 25 m answers; 25 m counts.

    It would catch positions by degrees (which are 200 m off here) and cities that are mixed up.
    """
    write(tmp_path, shift=200)
    for root in (tmp_path, tmp_path / "train_val"):
        found = read_evaluation(protocol("msls-val"), root)
        short = ["near", "edge"]
        assert names(found.queries.paths) == [f"{c}_{name}" for c in CENTRES for name in short]
        assert names(found.database.paths) == ["cph_d0", "cph_d1", "sf_d0", "sf_d1"]
        assert [good.tolist() for good in found.positives()] == [[0], [1], [2], [3]]
        assert sorted(set(found.queries.zone.tolist())) == [10, 33]
        for path in found.queries.paths:
            assert (found.root / path).is_file()


@pytest.mark.parametrize("openvprlab", [False, True])
@pytest.mark.parametrize("prefix", ["train_val/", ""])
@pytest.mark.parametrize("place", ["", "msls_val"])
def test_published_lists(tmp_path: Path, place: str, prefix: str, openvprlab: bool) -> None:
    """Their images in their order; the pickled positives beside them are not opened."""
    write(tmp_path, shift=200)
    lists(tmp_path / place, prefix=prefix, openvprlab=openvprlab)
    found = read_evaluation(protocol("msls-val"), tmp_path)
    assert names(found.queries.paths) == ["sf_edge", "sf_near", "cph_edge", "cph_near"]
    assert [good.tolist() for good in found.positives()] == [[3], [2], [1], [0]]
    full = read_evaluation(protocol("msls-val-full"), tmp_path)
    assert len(full.queries) == 8


def test_pickles_and_foreign_lists_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    lists(tmp_path)
    np.save(tmp_path / "msls_val_qIdx.npy", np.array([0, 9]))
    with pytest.raises(DataError, match=r"found row 9 .*expected rows of the 6 names"):
        read_msls_val(tmp_path, subtask="all")
    np.save(tmp_path / "msls_val_qIdx.npy", np.array([0.5]))
    with pytest.raises(DataError, match="something else than a row of row numbers"):
        read_msls_val(tmp_path, subtask="all")
    (tmp_path / "msls_val_qIdx.npy").unlink()
    np.save(tmp_path / "msls_val_dbImages.npy", np.array(["a", "b"], dtype=object))
    with pytest.raises(DataError, match=r"expected an \.npy of image names that is no pickle"):
        read_msls_val(tmp_path, subtask="all")
    np.save(tmp_path / "msls_val_dbImages.npy", np.array(["train_val/cph/database/images/x.jpg"]))
    with pytest.raises(DataError, match=r"found train_val/cph/database/images/x\.jpg in a list"):
        read_msls_val(tmp_path, subtask="all")
    np.save(tmp_path / "msls_val_dbImages.npy", np.array(["elsewhere/x.jpg"]))
    with pytest.raises(DataError, match="copy the list or the tables again"):
        read_msls_val(tmp_path, subtask="all")


def test_a_subtask_table_without_keys_is_in_the_order_of_the_others(tmp_path: Path) -> None:
    write(tmp_path)
    expected = read_msls_val(tmp_path, subtask="all")[1].paths
    for table in tmp_path.glob("train_val/*/*/subtask_index.csv"):
        rows = [line.split(",") for line in table.read_text().splitlines()]
        table.write_text("\n".join(",".join([row[0], *row[2:]]) for row in rows))
    assert read_msls_val(tmp_path, subtask="all")[1].paths == expected
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match=r"or use msls-val-full"):
        read_msls_val(tmp_path, subtask="all")
    table.unlink()
    with pytest.raises(DataError, match=r"found no .*subtask_index\.csv with a column all"):
        read_msls_val(tmp_path, subtask="all")
    with pytest.raises(DataError, match="expected MSLS with its tables"):
        read_msls_val(tmp_path / "train_val" / "cph")


def test_images_and_lists_without_the_tables(tmp_path: Path) -> None:
    """As OpenVPRLab unpacks them: there are no positions, and the message says where they are."""
    write(tmp_path)
    lists(tmp_path, openvprlab=True)
    for table in tmp_path.glob("train_val/*/*/*.csv"):
        table.unlink()
    with pytest.raises(DataError, match=r"expected MSLS with its tables.*unpack metadata\.zip"):
        read_evaluation(protocol("msls-val"), tmp_path)
