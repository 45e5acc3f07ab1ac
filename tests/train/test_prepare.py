"""Preparation of a training run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from edgevpr.artifacts.records import FeaturesRecord
from edgevpr.errors import UsageError
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.progress import silent
from edgevpr.train.config import TrainConfig
from edgevpr.train.networks.architecture import Architecture
from edgevpr.train.place_ids import with_places
from edgevpr.train.prepare import gallery_bank


def features(table: ImageTable, exit: str = "") -> Any:
    """Stands for a features artifact of the table's images."""
    record = FeaturesRecord("gallery", "m", Preprocess(8, 8), len(table), 4, "images", exit)
    descriptors = np.eye(4, dtype=np.float16)[np.arange(len(table)) % 4]
    artifact = SimpleNamespace(path=Path("F"))
    return SimpleNamespace(record=record, artifact=artifact, table=table, descriptors=descriptors)


def test_places_that_touch_are_hidden_from_each_other() -> None:
    """In bank rows, which are not place ids."""
    table = ImageTable.build(
        ["a", "b", "c"], easting=[9.9, 10.1, 95.0], northing=[1] * 3, heading=[1] * 3
    )
    config = TrainConfig(Path("images"), Architecture(), places_from="gps")
    placed = with_places(table, config)
    bank, own, hidden = gallery_bank(features(placed), placed, config, silent)
    assert own.tolist() == [0, 1, 2]
    assert hidden is not None
    assert hidden.tolist() == [[0, 1], [1, 0], [2, -1]]
    assert len(bank.places) == 3


def test_features_of_an_early_exit_are_refused() -> None:
    """The bank is of what describes the map."""
    table = ImageTable.build(["a", "b"], place=[0, 1])
    config = TrainConfig(Path("images"), Architecture())
    with pytest.raises(UsageError, match="F described by the early exit L4"):
        gallery_bank(features(table, "L4"), table, config, silent)
