"""Profiles without a network: rows made of drawn samples."""

from collections.abc import Callable

import numpy as np
import pytest

from edgevpr.artifacts.records import ProfileRecord, ProfileRow
from edgevpr.profiles.configuration import make_row
from edgevpr.profiles.context import device_context


@pytest.fixture
def row() -> Callable[..., ProfileRow]:
    """row(name, engine_ms=..., r1=...) -> a ProfileRow of 50 frames."""

    def make(name: str, *, engine_ms: float = 5.0, r1: float | None = 90.0) -> ProfileRow:
        rng = np.random.default_rng(len(name))
        stages = {"decode": 0.5, "preprocess": 0.2, "engine": engine_ms, "search": 0.07}
        samples = {
            stage: [float(x) for x in rng.lognormal(np.log(ms), 0.1, 50)]
            for stage, ms in stages.items()
        }
        parts = (samples["preprocess"], samples["engine"], samples["search"])
        samples["end_to_end"] = [sum(values) for values in zip(*parts, strict=True)]
        return make_row(
            name, samples, r1=r1, r5=None if r1 is None else r1 + 5, bytes_per_image=72.0,
            facts={"target": "cpu", "precision": "int8"},
        )  # fmt: skip

    return make


@pytest.fixture
def record(row: Callable[..., ProfileRow]) -> ProfileRecord:
    """Two configurations measured on this machine."""
    return ProfileRecord(
        rows=[row("query-exact", engine_ms=7.0), row("query-ivfpq", r1=89.4)],
        device=device_context(threads={"faiss": "1"}),
        source="city/queries",
        frames=50,
        warmup=10,
        queries=400,
        without_positives=3,
        database=1200,
        radius_m=25.0,
        evidence={"query-ivfpq": {"parity": {"min_cosine": 0.9987}, "nodes": [3, 4]}},
    )
