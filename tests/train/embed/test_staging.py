"""Unfinished descriptors: kept for the same plan, discarded for another."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgevpr.artifacts.manifest import write_json
from edgevpr.errors import NumericsError, ResourceError
from edgevpr.train.embed.staging import (
    EmbedPlan,
    check_descriptors,
    finishing,
    open_staging,
    working,
)

PLAN = EmbedPlan(model_digest="m", source="images", paths_digest="p", count=4, dim=3, shards=1)


def test_the_same_plan_goes_on_with_the_rows_on_disk(tmp_path: Path) -> None:
    first = open_staging(tmp_path / "s", PLAN)
    first[1] = 7
    first.flush()
    assert open_staging(tmp_path / "s", PLAN)[1].tolist() == [7, 7, 7]


@pytest.mark.parametrize("change", [{"model_digest": "n"}, {"paths_digest": "q"}, {"shards": 2}])
def test_another_plan_starts_anew(tmp_path: Path, change: dict[str, object]) -> None:
    first = open_staging(tmp_path / "s", PLAN)
    first[1] = 7
    first.flush()
    write_json(tmp_path / "s" / "done-0.json", {"row": 2})
    second = open_staging(tmp_path / "s", msgspec.structs.replace(PLAN, **change))
    assert not second.any()
    assert not (tmp_path / "s" / "done-0.json").exists()


def test_a_broken_plan_starts_anew(tmp_path: Path) -> None:
    open_staging(tmp_path / "s", PLAN)
    (tmp_path / "s" / "plan.json").write_text("{")
    assert open_staging(tmp_path / "s", PLAN).shape == (4, 3)


def test_a_plan_without_its_descriptors_starts_anew(tmp_path: Path) -> None:
    """A run would never get further than opening them."""
    open_staging(tmp_path / "s", PLAN)
    (tmp_path / "s" / "descriptors.npy").unlink()
    assert open_staging(tmp_path / "s", PLAN).shape == (4, 3)


def test_a_part_is_described_once_at_a_time(tmp_path: Path) -> None:
    """Two would write the rows of one file, one of them after it was hashed."""
    folder = tmp_path / "s"
    open_staging(folder, PLAN)
    with working(folder, 1):
        with working(folder, 0):  # another part
            pass
        with (
            pytest.raises(ResourceError, match="another process describing part 1"),
            working(folder, 1),
        ):
            pass
        with pytest.raises(ResourceError, match="describing other images"):
            open_staging(folder, msgspec.structs.replace(PLAN, dim=4))
        assert open_staging(folder, PLAN).shape == (4, 3)
    assert open_staging(folder, msgspec.structs.replace(PLAN, dim=4)).shape == (4, 4)


def test_one_of_those_that_finish_together_writes(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    open_staging(folder, PLAN)
    with finishing(folder) as first, finishing(folder) as second:
        assert (first, second) == (True, False)
    with finishing(tmp_path / "gone") as late:
        assert not late


def test_nan_names_the_image() -> None:
    values = np.ones((2, 3), np.float32)
    values[1, 2] = np.nan
    with pytest.raises(NumericsError, match=r"describing b\.jpg, expected finite"):
        check_descriptors(values, np.array([0, 2]), ["a.jpg", "c.jpg", "b.jpg"])
