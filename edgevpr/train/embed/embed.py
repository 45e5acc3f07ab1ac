"""Descriptors of images: the features artifact that ``edgevpr embed`` writes."""

import contextlib
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from edgevpr.artifacts.folder import write_artifact
from edgevpr.artifacts.manifest import Artifact, read_json, write_json
from edgevpr.artifacts.records import FeaturesRecord, ModelRecord
from edgevpr.data import read_images
from edgevpr.errors import EdgeVPRError, NumericsError
from edgevpr.files import alone
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.progress import Track, silent
from edgevpr.train.images import Images, InOrder, loader
from edgevpr.train.networks.model import load_model
from edgevpr.train.networks.network import Network, best_device


def describe(
    network: Network,
    preprocess: Preprocess,
    root: Path,
    table: ImageTable,
    *,
    batch_size: int = 64,
    workers: int = 1,
    track: Track = silent,
    out: NDArray[np.float16] | None = None,
    rows: tuple[int, int] | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> NDArray[np.float16]:
    """(N, D) float16 L2-normalized descriptors of a table's images, in its order.

    Args:
        out: where to write them, for example a memory map; made when None.
        rows: (start, stop) of the rows to describe; all of them when None.
        on_rows: told after each batch up to which row ``out`` is filled.

    Raises:
        NumericsError: the network gave NaN or infinity; names the image.
    """
    device = best_device()
    training = network.training
    network = network.eval().to(device)
    images = Images(root, table.paths, preprocess)
    start, stop = rows or (0, len(table))
    batches = loader(images, InOrder(start, stop, batch_size), workers)
    if out is None:
        out = np.empty((len(table), network.dim), np.float16)
    with torch.inference_mode():
        for pixels, rows_ in track(batches, "embedding images", len(batches)):
            values = network(pixels.to(device)).float().cpu().numpy()
            if not np.isfinite(values).all():
                bad = table.paths[int(rows_[int((~np.isfinite(values)).any(1).argmax())])]
                raise NumericsError(
                    f"found NaN or infinity describing {bad}, expected finite descriptors: "
                    "check the image, or train the network again"
                )
            out[rows_.numpy()] = values
            if on_rows is not None:
                on_rows(int(rows_[-1]) + 1)
    network.train(training)
    return out


class _Plan(msgspec.Struct, frozen=True):
    """What unfinished descriptors are of; a run goes on from those of the same plan only."""

    model_digest: str
    source: str
    paths_digest: str
    count: int
    dim: int
    shards: int


class _Done(msgspec.Struct, frozen=True):
    row: int


#: Rows after which a run notes how far it has come.
_NOTE_EVERY = 2048


def embed(
    model: Path,
    images: Path,
    out: Path,
    *,
    batch_size: int = 64,
    workers: int = 1,
    shard: tuple[int, int] = (0, 1),
    track: Track = silent,
) -> FeaturesRecord | None:
    """``edgevpr embed``: describe every image below ``images`` and write the features artifact.

    Descriptors go straight into a memory-mapped file, so memory does not grow with their number.
    An interrupted run leaves that file beside ``out``, and the same command goes on from it.

    Args:
        shard: (i, n): describe the i-th of n equal parts, i from 0. Processes on one or several
            machines with one file system take a part each; the last to finish writes ``out``.

    Returns:
        what was written; None where other shards are still to come.
    """
    network, about, opened = load_model(model)
    table = read_images(images)
    number, shards = shard
    plan = _Plan(
        model_digest=opened.digest,
        source=str(images),
        paths_digest=hashlib.sha256("\n".join(table.paths).encode()).hexdigest(),
        count=len(table),
        dim=about.dim,
        shards=shards,
    )
    staging = out.absolute().with_name(f".{out.name}.partial")
    _stage(staging, plan)
    start, stop = (len(table) * i // shards for i in (number, number + 1))
    done = staging / f"done-{number}.json"
    first = read_json(done, _Done).row if done.is_file() else start
    descriptors = np.load(staging / "descriptors.npy", mmap_mode="r+", allow_pickle=False)
    noted = first

    def on_rows(row: int) -> None:
        nonlocal noted
        if row - noted >= _NOTE_EVERY or row == stop:
            descriptors.flush()
            write_json(done, _Done(row))
            noted = row

    describe(
        network,
        about.preprocess,
        images,
        table,
        batch_size=batch_size,
        workers=workers,
        track=track,
        out=descriptors,
        rows=(first, stop),
        on_rows=on_rows,
    )
    if start == stop:  # more shards than images
        write_json(done, _Done(stop))
    descriptors.flush()
    for i in range(shards):
        other = staging / f"done-{i}.json"
        if not other.is_file() or read_json(other, _Done).row < len(table) * (i + 1) // shards:
            return None
    whole = staging.with_name(f"{staging.name}-whole")
    try:
        staging.rename(whole)  # of two that finish together, one gets to write
    except FileNotFoundError:
        return None
    config = {"batch_size": batch_size, "shards": shards}
    record = write_features(out, whole / "descriptors.npy", table, opened, images, config)
    shutil.rmtree(whole, ignore_errors=True)
    return record


def write_features(
    out: Path,
    descriptors: Path,
    table: ImageTable,
    model: Artifact,
    images: Path,
    config: dict[str, Any],
) -> FeaturesRecord:
    """The features artifact at ``out``, from a finished (N, D) float16 file, which is moved there.

    Args:
        model: the artifact whose network described the images of ``table`` below ``images``.
        config: how; the model and the images are added.
    """
    about = model.read("model.json", ModelRecord)
    record = FeaturesRecord(
        role=about.role,
        model_digest=model.digest,
        preprocess=about.preprocess,
        count=len(table),
        dim=about.dim,
        source=str(images),
    )
    with write_artifact(out, "features", space=model.space) as folder:
        descriptors.rename(folder / "descriptors.npy")
        table.save(folder / "images.csv")
        write_json(folder / "features.json", record)
        everything = {"model": str(model.path), "images": str(images), **config}
        write_json(folder / "config.json", everything)
    return record


def _stage(staging: Path, plan: _Plan) -> None:
    """The folder of unfinished descriptors: of this plan, or new; shards may come together."""
    staging.parent.mkdir(parents=True, exist_ok=True)
    with alone(staging.parent):
        with contextlib.suppress(EdgeVPRError):
            if read_json(staging / "plan.json", _Plan) == plan:
                return
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        np.lib.format.open_memmap(
            staging / "descriptors.npy", "w+", np.float16, (plan.count, plan.dim)
        )
        write_json(staging / "plan.json", plan)
