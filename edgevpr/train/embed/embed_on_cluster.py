"""Descriptors by many machines: ``edgevpr embed --cluster`` hands batches out through Ray Data.

The machines see the images and the model under the same paths; only the one that starts the run
writes. Ray starts workers, gives each its share, and repeats what a lost one had in hand.
"""

import functools
import hashlib
import io
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import read_json, write_json
from edgevpr.artifacts.records import FeaturesRecord, ModelRecord
from edgevpr.data import read_images
from edgevpr.errors import DataError, NumericsError
from edgevpr.files import write_atomic
from edgevpr.preprocess import Preprocess
from edgevpr.progress import Track, silent
from edgevpr.ray_cluster import connect, raising_plainly, workers_of
from edgevpr.train.embed.embed import write_features
from edgevpr.train.images import Images
from edgevpr.train.networks.model import load_model
from edgevpr.train.networks.network import Network, best_device

#: Batches after which finished rows are noted on disk.
_NOTE_EVERY = 32


class Describer:
    """A worker: batches of paths in, descriptors out; the network is loaded once."""

    def __init__(self, model: str, images: str, digest: str) -> None:
        self.model, self.root, self.digest = Path(model), Path(images), digest

    @functools.cached_property
    def _loaded(self) -> tuple[Network, Preprocess]:
        # With the first batch: what a constructor raises, Ray reports as a worker that died.
        network, about, opened = load_model(self.model)
        if opened.digest != self.digest:
            raise DataError(
                f"found another model at {self.model} on a worker, expected the same on all "
                "machines: copy it to where all of them see it"
            )
        return network.to(best_device()), about.preprocess

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        import torch

        network, preprocess = self._loaded
        images = Images(self.root, [str(path) for path in batch["path"]], preprocess)
        pixels, _ = images[[(0, row) for row in range(len(images))]]
        with torch.inference_mode():
            values = network(pixels.to(best_device())).float().cpu().numpy()
        return {"row": batch["row"], "descriptor": values.astype(np.float16)}


class _Plan(msgspec.Struct, frozen=True):
    """What unfinished descriptors are of."""

    model_digest: str
    paths_digest: str
    count: int
    dim: int


def embed_on_cluster(
    model: Path,
    images: Path,
    out: Path,
    *,
    cluster: str,
    batch_size: int = 64,
    track: Track = silent,
) -> FeaturesRecord:
    """Describe every image below ``images`` on a Ray cluster and write the features artifact.

    An interrupted run leaves its finished rows beside ``out``, and the same command goes on from
    them, on any number of machines.

    Args:
        cluster: address of its head, ``auto`` for the one this machine belongs to, ``local`` for
            workers on this machine alone.

    Raises:
        TargetError: no cluster answers there.
        NumericsError: the network gave NaN or infinity; names the image.
    """
    ray = connect(cluster)
    opened = open_artifact(model, "model")
    about = opened.read("model.json", ModelRecord)
    table = read_images(images)
    paths_digest = hashlib.sha256("\n".join(table.paths).encode()).hexdigest()
    plan = _Plan(opened.digest, paths_digest, len(table), about.dim)
    staging = out.absolute().with_name(f".{out.name}.cluster")
    descriptors, done = _stage(staging, plan)
    todo = np.flatnonzero(~done)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    workers = gpus or workers_of(ray)
    if len(todo):
        results = ray.data.from_items(
            [{"row": int(row), "path": table.paths[row]} for row in todo]
        ).map_batches(
            Describer,
            fn_constructor_args=(str(model.resolve()), str(images.resolve()), opened.digest),
            batch_size=batch_size,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
            num_gpus=1 if gpus else 0,
        )
        batches = results.iter_batches(batch_size=batch_size, batch_format="numpy")
        total = -(-len(todo) // batch_size)
        counted = enumerate(track(batches, f"embedding on {workers} workers", total))
        with raising_plainly():
            for number, batch in counted:
                rows, values = batch["row"], batch["descriptor"]
                finite = np.isfinite(values).all(1)
                if not finite.all():
                    bad = table.paths[int(rows[int(finite.argmin())])]
                    raise NumericsError(
                        f"found NaN or infinity describing {bad}, expected finite descriptors: "
                        "check the image, or train the network again"
                    )
                descriptors[rows] = values
                done[rows] = True
                if number % _NOTE_EVERY == _NOTE_EVERY - 1:
                    _note(staging, descriptors, done)
    _note(staging, descriptors, done)
    config = {"batch_size": batch_size, "cluster": cluster}
    record = write_features(out, staging / "descriptors.npy", table, opened, images, config)
    shutil.rmtree(staging, ignore_errors=True)
    return record


def _stage(staging: Path, plan: _Plan) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Descriptors so far, memory-mapped, and which rows are done."""
    file, stamp = staging / "descriptors.npy", staging / "plan.json"
    if file.is_file() and stamp.is_file() and read_json(stamp, _Plan) == plan:
        done = np.load(staging / "done.npy", allow_pickle=False)
        return np.load(file, mmap_mode="r+", allow_pickle=False), done
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    descriptors = np.lib.format.open_memmap(file, "w+", np.float16, (plan.count, plan.dim))
    done = np.zeros(plan.count, np.bool_)
    _note(staging, descriptors, done)
    write_json(stamp, plan)
    return descriptors, done


def _note(staging: Path, descriptors: NDArray[np.float16], done: NDArray[np.bool_]) -> None:
    """Note which rows are done, after they are on disk."""
    if isinstance(descriptors, np.memmap):
        descriptors.flush()
    text = io.BytesIO()
    np.save(text, done)
    write_atomic(staging / "done.npy", text.getvalue())
