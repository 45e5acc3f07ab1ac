"""Pittsburgh in its original layout, on a miniature copy."""

from pathlib import Path

import numpy as np
import pytest

from edgevpr.data.protocols import protocol, read_evaluation
from edgevpr.errors import DataError

scipy_io = pytest.importorskip("scipy.io")

DATABASE = [
    "000/000000_pitch1_yaw1.jpg",
    "000/000000_pitch1_yaw2.jpg",
    "010/000009_pitch2_yaw24.jpg",
]
QUERIES = ["000/000412_pitch1_yaw3.jpg", "003/003106_pitch2_yaw1.jpg"]


def cells(names: list[str]) -> np.ndarray:
    """A column of a cell array, as the published files have it."""
    column = np.empty((len(names), 1), dtype=object)
    column[:, 0] = names
    return column


def write(root: Path, folder: str, name: str, queries: list[str] = QUERIES) -> None:
    for path in [*DATABASE, *(f"queries_real/{query}" for query in queries)]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"jpeg")
    (root / folder).mkdir(exist_ok=True)
    struct = {
        "whichSet": "test",
        "dbImageFns": cells(DATABASE),
        "utmDb": np.array([[585000.0, 585000.0, 585500.0], [4477000.0, 4477000.0, 4477100.0]]),
        "qImageFns": cells(queries),
        "utmQ": np.array([[585500.0, 585020.0], [4477125.0, 4477015.0]])[:, : len(queries)],
        "posDistThr": 25.0,
    }
    scipy_io.savemat(root / folder / f"{name}.mat", {"dbStruct": struct}, do_compression=True)


@pytest.mark.parametrize(
    ("name", "file"),
    [("pitts30k", "pitts30k_test"), ("pitts250k-val", "pitts250k_val")],
)
@pytest.mark.parametrize("folder", ["", "datasets"])
def test_the_authors_files(tmp_path: Path, name: str, file: str, folder: str) -> None:
    """Names in their order, metres not mixed up between east and north."""
    write(tmp_path, folder, file)
    found = read_evaluation(protocol(name), tmp_path)
    assert found.database.paths == DATABASE
    assert found.queries.paths == [f"queries_real/{query}" for query in QUERIES]
    assert found.database.easting.tolist() == [585000, 585000, 585500]
    assert [good.tolist() for good in found.positives()] == [[2], [0, 1]]
    assert found.queries.lat == pytest.approx(40.44, abs=0.01)
    assert found.queries.lon == pytest.approx(-79.99, abs=0.02)


def test_one_query_is_a_row_too(tmp_path: Path) -> None:
    write(tmp_path, "", "pitts30k_test", QUERIES[:1])
    assert len(read_evaluation(protocol("pitts30k"), tmp_path).queries) == 1


def test_what_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, "", "pitts30k_test")
    (tmp_path / DATABASE[0]).unlink()
    with pytest.raises(DataError, match="000000_pitch1_yaw1"):
        read_evaluation(protocol("pitts30k"), tmp_path)
    (tmp_path / DATABASE[0]).write_bytes(b"jpeg")
    file = tmp_path / "pitts30k_test.mat"
    whole = file.read_bytes()
    for data in (whole[:200], whole[:-40], b"no MATLAB", b""):
        file.write_bytes(data)
        with pytest.raises(DataError, match=r"expected a MATLAB file with dbStruct"):
            read_evaluation(protocol("pitts30k"), tmp_path)
    scipy_io.savemat(file, {"dbStruct": {"dbImageFns": cells(DATABASE), "utmDb": np.zeros((2, 2))}})
    with pytest.raises(DataError, match=r"found no dbImageFns and utmDb of one length"):
        read_evaluation(protocol("pitts30k"), tmp_path)
    with pytest.raises(DataError, match="database/queries"):
        read_evaluation(protocol("pitts250k"), tmp_path)
