"""Small maps for tests of galleries that change: places as points on a sphere, seen a few times."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.projection import l2_normalize

SPACE = "boq-64-0123456789ab"
DIM, VIEWS = 64, 3
#: The first place's position; place i lies i * STEP_M metres east of it.
LAT, LON, STEP_M = 48.0, 11.0, 50.0


def place_vectors(places: range, *, dim: int = DIM, noise: float = 0.35) -> NDArray[np.float32]:
    """(places * VIEWS, dim) unit vectors; a place has the same ones in every test."""
    views = []
    for place in places:
        rng = np.random.default_rng([7, place])
        centre = rng.normal(size=dim) / np.sqrt(dim)
        views.append(centre + noise * rng.normal(size=(VIEWS, dim)) / np.sqrt(dim))
    return l2_normalize(np.vstack(views))


def table(places: range, prefix: str = "map") -> ImageTable:
    """VIEWS images a place, ``PREFIX/00012-1.jpg``."""
    place = np.repeat(np.array(places), VIEWS)
    metres_a_degree = 111_320.0 * np.cos(np.radians(LAT))
    return ImageTable.build(
        [f"{prefix}/{p:05d}-{i % VIEWS}.jpg" for i, p in enumerate(place)],
        place=place,
        lat=np.full(len(place), LAT),
        lon=LON + place * STEP_M / metres_a_degree,
    ).with_positions()


def write_features(
    path: Path,
    places: range,
    *,
    prefix: str = "map",
    vectors: NDArray[np.float32] | None = None,
    space: str = SPACE,
) -> Path:
    """A features artifact of these places."""
    images = table(places, prefix)
    vectors = place_vectors(places) if vectors is None else vectors
    Features.write(
        path, vectors, images, space=space, model_digest="m", preprocess=Preprocess(64, 64),
        source="test",
    )  # fmt: skip
    return path
