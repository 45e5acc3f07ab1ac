"""Unfinished descriptors: kept for the same plan, discarded for another."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgevpr.artifacts.manifest import write_json
from edgevpr.errors import NumericsError
from edgevpr.train.embed.staging import EmbedPlan, check_descriptors, open_staging

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


def test_nan_names_the_image() -> None:
    values = np.ones((2, 3), np.float32)
    values[1, 2] = np.nan
    with pytest.raises(NumericsError, match=r"describing b\.jpg, expected finite"):
        check_descriptors(values, np.array([0, 2]), ["a.jpg", "c.jpg", "b.jpg"])
