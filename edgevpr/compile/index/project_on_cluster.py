"""Projection of a large gallery on a Ray cluster.

Projecting N descriptors of D numbers, the costliest step of a large index, reads all of them and
multiplies N x D x d times. The machines see the features under the same path; each maps them,
takes blocks of rows and returns d numbers a row, which the machine that started the run writes.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.errors import DataError
from edgevpr.progress import Track
from edgevpr.ray_cluster import connect, raising_plainly, workers_of
from edgevpr.retrieval.projection import Projection


class Projector:
    """A worker: (start, stop) of rows in, their vectors out."""

    def __init__(self, features: str, digest: str, projection: Projection) -> None:
        self.path, self.digest, self.projection = Path(features), digest, projection

    @functools.cached_property
    def _features(self) -> Features:
        # With the first block: what a constructor raises, Ray reports as a worker that died. The
        # machine that started the run has hashed every file; here the manifest names them.
        features = Features(self.path, verify=False)
        if features.artifact.digest != self.digest:
            raise DataError(
                f"found the features at {self.path} to differ between machines, expected one and "
                "the same: copy them to where all machines see them"
            )
        return features

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        start, stop = int(batch["start"][0]), int(batch["stop"][0])
        vectors = self.projection.apply(self._features.descriptors[start:stop])
        return {"row": np.arange(start, stop), "vector": vectors}


def project_on_cluster(
    features: Features,
    projection: Projection,
    out: NDArray[np.float32],
    *,
    address: str,
    step: int,
    track: Track,
) -> None:
    """Fill (N, d) ``out`` with the projected descriptors, blocks of ``step`` rows in any order.

    Raises:
        TargetError: no cluster answers at ``address``.
    """
    ray = connect(address)
    count = len(out)
    blocks = [{"start": start, "stop": min(start + step, count)} for start in range(0, count, step)]
    projected = ray.data.from_items(blocks).map_batches(
        Projector,
        fn_constructor_args=(
            str(features.artifact.path.resolve()), features.artifact.digest, projection,
        ),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers_of(ray)),
    )  # fmt: skip
    batches = projected.iter_batches(batch_size=None, batch_format="numpy")
    with raising_plainly():
        for batch in track(batches, "projecting descriptors", len(blocks)):
            out[batch["row"]] = batch["vector"]
