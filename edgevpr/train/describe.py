"""Descriptors of images: the features artifact that ``edgevpr embed`` writes."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgevpr import artifact
from edgevpr.data import read_images
from edgevpr.errors import NumericsError
from edgevpr.places import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.progress import Track, silent
from edgevpr.records import FeaturesRecord
from edgevpr.train.images import Images, InOrder, loader
from edgevpr.train.model import load_model
from edgevpr.train.network import Network, best_device


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
) -> NDArray[np.float16]:
    """(N, D) float16 L2-normalized descriptors of a table's images, in its order.

    Args:
        out: where to write them, for example a memory map; made when None.

    Raises:
        NumericsError: the network gave NaN or infinity; names the image.
    """
    device = best_device()
    training = network.training
    network = network.eval().to(device)
    images = Images(root, table.paths, preprocess)
    batches = loader(images, InOrder(len(table), batch_size), workers)
    if out is None:
        out = np.empty((len(table), network.dim), np.float16)
    with torch.inference_mode():
        for pixels, rows in track(batches, "embedding images", len(batches)):
            values = network(pixels.to(device)).float().cpu().numpy()
            if not np.isfinite(values).all():
                bad = table.paths[int(rows[int((~np.isfinite(values)).any(1).argmax())])]
                raise NumericsError(
                    f"the network gave NaN or infinity for {bad}, expected finite descriptors; "
                    "check the image, or train the network again"
                )
            out[rows.numpy()] = values
    network.train(training)
    return out


def embed(
    model: Path,
    images: Path,
    out: Path,
    *,
    batch_size: int = 64,
    workers: int = 1,
    track: Track = silent,
) -> FeaturesRecord:
    """``edgevpr embed``: describe every image below ``images`` and write the features artifact.

    Descriptors go straight into a memory-mapped file, so memory does not grow with their number.
    """
    network, about, opened = load_model(model)
    table = read_images(images)
    record = FeaturesRecord(
        role=about.role,
        model_digest=opened.digest,
        preprocess=about.preprocess,
        count=len(table),
        dim=about.dim,
        source=str(images),
    )
    config = {"model": str(model), "images": str(images), "batch_size": batch_size}
    with artifact.create(out, "features", space=opened.space) as folder:
        descriptors = np.lib.format.open_memmap(
            folder / "descriptors.npy", "w+", np.float16, (len(table), about.dim)
        )
        describe(
            network,
            about.preprocess,
            images,
            table,
            batch_size=batch_size,
            workers=workers,
            track=track,
            out=descriptors,
        )
        descriptors.flush()
        del descriptors
        table.save(folder / "images.csv")
        artifact.write_json(folder / "features.json", record)
        artifact.write_json(folder / "config.json", config)
    return record
