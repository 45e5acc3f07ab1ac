"""Descriptors by many machines: batches handed out through Ray Data.

The machines see the images and the model under the same paths; only the one that starts the run
writes. Ray starts workers, gives each its share, and repeats what a lost one had in hand.
"""

import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.manifest import Artifact
from edgevpr.artifacts.records import FeaturesRecord
from edgevpr.data import read_images
from edgevpr.data.left_out import LeftOut
from edgevpr.errors import DataError
from edgevpr.files import write_atomic
from edgevpr.guard import keeps_inputs
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.progress import Track, silent
from edgevpr.ray_cluster import connect, raising_plainly, workers_of
from edgevpr.train.embed.staging import (
    check_descriptors,
    open_staging,
    plan_of,
    working,
    write_features,
)
from edgevpr.train.embed.through_exits import Describing, load_through
from edgevpr.train.images import Images
from edgevpr.train.networks.network import best_device

#: Batches after which finished rows are noted on disk.
_NOTE_EVERY = 32


class Describer:
    """A worker: batches of paths in, descriptors out; the network is loaded once."""

    def __init__(
        self, model: str, images: str, digest: str, skip_unreadable: bool, exit: str = ""
    ) -> None:
        self.skip_unreadable, self.exit = skip_unreadable, exit
        self.model, self.root, self.digest = Path(model), Path(images), digest

    @functools.cached_property
    def _loaded(self) -> tuple[Describing, Preprocess]:
        # With the first batch: what a constructor raises, Ray reports as a worker that died.
        network, about, opened = load_through(self.model, self.exit)
        if opened.digest != self.digest:
            raise DataError(
                f"found another model at {self.model} on a worker, expected the same on all "
                "machines: copy it to where all of them see it"
            )
        return network.to(best_device()), about.preprocess

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        network, preprocess = self._loaded
        images = Images(
            self.root,
            [str(path) for path in batch["path"]],
            preprocess,
            unreadable="drop" if self.skip_unreadable else "raise",
        )
        pixels, rows = images[[(0, row) for row in range(len(images))]]
        descriptors = np.zeros((len(images), network.dim), np.float16)
        if len(rows):
            with torch.inference_mode():
                values = network(pixels.to(best_device())).float().cpu().numpy()
            descriptors[rows.numpy()] = values
        return {"row": batch["row"], "descriptor": descriptors}


@keeps_inputs("out")
def embed_on_cluster(
    model: Path,
    images: Path,
    out: Path,
    *,
    cluster: str,
    batch_size: int = 64,
    exit: str = "",
    left_out: list[LeftOut] | None = None,
    track: Track = silent,
) -> FeaturesRecord:
    """Describe every image below ``images`` on a Ray cluster and write the features artifact.

    An interrupted run leaves its finished rows beside ``out``, and the same command goes on from
    them, on any number of machines.

    Args:
        cluster: address of its head, ``auto`` for the one this machine belongs to, ``local`` for
            workers on this machine alone.
        exit: early exit of the network to describe them by; "": its full path.
        left_out: gets the images, rows and folders that cannot be used; None: they are errors.

    Raises:
        TargetError: no cluster answers there.
        NumericsError: the network gave NaN or infinity; names the image.
    """
    ray = connect(cluster)
    _, _, opened = load_through(model, exit)
    exit = "" if exit == FULL else exit
    table = read_images(images, left_out)
    staging = out.absolute().with_name(f".{out.name}.cluster")
    descriptors = open_staging(staging, plan_of(opened, images, table, exit=exit))
    with working(staging):
        done = _read_done(staging, len(table))
        todo = np.flatnonzero(~done)
        skip = left_out is not None
        described = _describe(ray, opened, images, table, todo, batch_size, skip, exit, track)
        for number, (rows, values) in enumerate(described):
            descriptors[rows] = values
            done[rows] = True
            if number % _NOTE_EVERY == _NOTE_EVERY - 1:
                _note(staging, descriptors, done)
        _note(staging, descriptors, done)
        return write_features(
            staging,
            out,
            table,
            opened,
            images,
            left_out,
            exit=exit,
            batch_size=batch_size,
            cluster=cluster,
        )


def _describe(
    ray: Any,
    model: Artifact,
    images: Path,
    table: ImageTable,
    rows: NDArray[np.int64],
    batch_size: int,
    skip_unreadable: bool,
    exit: str,
    track: Track,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    """(B,) rows and their (B, D) descriptors, in whatever order the workers answer."""
    if not len(rows):
        return
    gpus = int(ray.cluster_resources().get("GPU", 0))
    workers = gpus or workers_of(ray)
    results = ray.data.from_items(
        [{"row": int(row), "path": table.paths[row]} for row in rows]
    ).map_batches(
        Describer,
        fn_constructor_args=(
            str(model.path.resolve()),
            str(images.resolve()),
            model.digest,
            skip_unreadable,
            exit,
        ),
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
        num_gpus=1 if gpus else 0,
    )
    batches = results.iter_batches(batch_size=batch_size, batch_format="numpy")
    total = -(-len(rows) // batch_size)
    with raising_plainly():
        for batch in track(batches, f"embedding on {workers} workers", total):
            check_descriptors(batch["descriptor"], batch["row"], table.paths)
            yield batch["row"], batch["descriptor"]


def _read_done(staging: Path, count: int) -> NDArray[np.bool_]:
    """(N,) which rows an earlier run has described."""
    file = staging / "done.npy"
    done: NDArray[np.bool_] = (
        np.load(file, allow_pickle=False) if file.is_file() else np.zeros(count, np.bool_)
    )
    return done


def _note(
    staging: Path, descriptors: "np.memmap[Any, np.dtype[np.float16]]", done: NDArray[np.bool_]
) -> None:
    """Note which rows are done, after they are on disk."""
    descriptors.flush()
    text = io.BytesIO()
    np.save(text, done)
    write_atomic(staging / "done.npy", text.getvalue())
