"""Descriptors of a folder of images by a network, as a features artifact (``edgevpr embed``)."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from edgevpr.artifacts.exit_contract import FULL
from edgevpr.artifacts.manifest import read_json, write_json
from edgevpr.artifacts.records import FeaturesRecord
from edgevpr.data import read_images
from edgevpr.data.left_out import LeftOut
from edgevpr.guard import keeps_inputs
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.progress import Track, silent
from edgevpr.train.embed.staging import (
    check_descriptors,
    finishing,
    open_staging,
    plan_of,
    working,
    write_features,
)
from edgevpr.train.embed.through_exits import Describing, load_through
from edgevpr.train.images import Images, InOrder, loader
from edgevpr.train.networks.network import best_device

#: Rows after which a run notes how far it has come.
_NOTE_EVERY = 2048


def describe_images(
    network: Describing,
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
    skip_unreadable: bool = False,
) -> NDArray[np.float16]:
    """(N, D) float16 L2-normalized descriptors of a table's images, in its order.

    Args:
        out: where to write them, for example a memory map; made when None.
        rows: (start, stop) of the rows to describe; all of them when None.
        on_rows: called after each batch with the row up to which ``out`` is filled.
        skip_unreadable: leave the rows of images that cannot be read as they are in ``out``.

    Raises:
        DataError: an image cannot be read; names it.
        NumericsError: the network gave NaN or infinity; names the image.
    """
    device = best_device()
    training = network.training
    network = network.eval().to(device)
    images = Images(
        root, table.paths, preprocess, unreadable="drop" if skip_unreadable else "raise"
    )
    start, stop = rows or (0, len(table))
    batches = loader(images, InOrder(start, stop, batch_size), workers)
    if out is None:
        out = np.zeros((len(table), network.dim), np.float16)
    with torch.inference_mode():
        for number, (pixels, batch) in enumerate(track(batches, "embedding images", len(batches))):
            if len(batch):
                values = network(pixels.to(device)).float().cpu().numpy()
                check_descriptors(values, batch.numpy(), table.paths)
                out[batch.numpy()] = values
            if on_rows is not None:
                on_rows(min(start + (number + 1) * batch_size, stop))
    network.train(training)
    return out


class _Done(msgspec.Struct, frozen=True):
    """Row up to which a shard is described."""

    row: int


@keeps_inputs("out")
def embed(
    model: Path,
    images: Path,
    out: Path,
    *,
    batch_size: int = 64,
    workers: int = 1,
    shard: tuple[int, int] = (0, 1),
    exit: str = "",
    left_out: list[LeftOut] | None = None,
    track: Track = silent,
) -> FeaturesRecord | None:
    """Describe every image below ``images`` and write the features artifact.

    Descriptors go straight into a memory-mapped file. An interrupted run leaves that file beside
    ``out``, and the same command goes on from it.

    Args:
        shard: (i, n): describe the i-th of n equal parts, i from 0. Processes on one or several
            machines with one file system take a part each; the last to finish writes ``out``.
        exit: early exit of the network to describe them by; "": its full path.
        left_out: gets the images, rows and folders that cannot be used, from the last to finish;
            None: they are errors.

    Returns:
        what was written; None where other shards are still to come.

    Raises:
        ResourceError: another process describes the same part into ``out``, or other images.
        UsageError: the network does not have this exit.
    """
    network, about, opened = load_through(model, exit)
    exit = "" if exit == FULL else exit
    table = read_images(images, left_out)
    number, shards = shard
    staging = out.absolute().with_name(f".{out.name}.partial")
    descriptors = open_staging(staging, plan_of(opened, images, table, shards, exit))
    stops = [len(table) * i // shards for i in range(shards + 1)]
    start, stop = stops[number : number + 2]
    done = staging / f"done-{number}.json"
    with working(staging, number):
        noted = first = read_json(done, _Done).row if done.is_file() else start

        def on_rows(row: int) -> None:
            nonlocal noted
            if row - noted >= _NOTE_EVERY or row == stop:
                descriptors.flush()
                write_json(done, _Done(row))
                noted = row

        describe_images(
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
            skip_unreadable=left_out is not None,
        )
        if start == stop:  # more shards than images
            write_json(done, _Done(stop))
        descriptors.flush()
    with finishing(staging) as mine:
        if not mine or not _all_done(staging, stops[1:]):
            return None
        return write_features(
            staging,
            out,
            table,
            opened,
            images,
            left_out,
            exit=exit,
            batch_size=batch_size,
            shards=shards,
        )


def _all_done(staging: Path, stops: list[int]) -> bool:
    """Whether every shard has come to its last row."""
    for number, stop in enumerate(stops):
        done = staging / f"done-{number}.json"
        if not done.is_file() or read_json(done, _Done).row < stop:
            return False
    return True
