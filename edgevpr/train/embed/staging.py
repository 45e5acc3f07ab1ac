"""Staging of unfinished descriptors beside the features artifact that they become.

A folder with ``plan.json`` and ``descriptors.npy``, (N, D) float16 as a memory map: memory does not
grow with N, and an interrupted run goes on from the rows on disk. It stays complete until the
artifact stands, so a run killed at any moment can be started again. Who describes a part, and who
writes the artifact, holds the lock of a file in it; locks end with their process.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.manifest import Artifact, read_json, write_json
from edgevpr.artifacts.records import FeaturesRecord, ModelRecord
from edgevpr.data.image_files import why_unreadable
from edgevpr.data.left_out import LeftOut, summary
from edgevpr.errors import DataError, EdgeVPRError, NumericsError, ResourceError
from edgevpr.files import release
from edgevpr.locks import alone, held
from edgevpr.places.table import ImageTable

#: Rows looked at together.
_AT_ONCE = 4096


class EmbedPlan(msgspec.Struct, frozen=True):
    """Identity of unfinished descriptors; a run goes on from those of the same plan only."""

    model_digest: str
    source: str
    paths_digest: str
    count: int
    dim: int
    shards: int
    exit: str = ""


def plan_of(
    model: Artifact, images: Path, table: ImageTable, shards: int = 1, exit: str = ""
) -> EmbedPlan:
    """The plan of describing the images of ``table`` below ``images`` with ``model``."""
    return EmbedPlan(
        model_digest=model.digest,
        source=str(images),
        paths_digest=hashlib.sha256(
            "\n".join(table.paths).encode("utf-8", "surrogateescape")
        ).hexdigest(),
        count=len(table),
        dim=model.read("model.json", ModelRecord).dim,
        shards=shards,
        exit=exit,
    )


def open_staging(folder: Path, plan: EmbedPlan) -> "np.memmap[Any, np.dtype[np.float16]]":
    """(N, D) descriptors at ``folder``, writable: those of the same plan, or new ones.

    Several processes may open the same folder at once.

    Raises:
        ResourceError: another process is at work there with another plan.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder.parent):
        if not _is_of(folder, plan):
            _check_idle(folder)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            np.lib.format.open_memmap(
                folder / "descriptors.npy", "w+", np.float16, (plan.count, plan.dim)
            )
            write_json(folder / "plan.json", plan)
        return np.lib.format.open_memmap(folder / "descriptors.npy", "r+")


def _is_of(folder: Path, plan: EmbedPlan) -> bool:
    if not (folder / "descriptors.npy").is_file():
        return False
    with contextlib.suppress(EdgeVPRError):
        return read_json(folder / "plan.json", EmbedPlan) == plan
    return False


def _check_idle(folder: Path) -> None:
    for lock in folder.glob("*.lock"):
        with held(lock) as free:
            if not free:
                raise ResourceError(
                    f"found another process describing other images into {folder}, expected one "
                    "run for each output: wait until it has ended, or choose another `out`"
                )


@contextlib.contextmanager
def working(folder: Path, part: int = 0) -> Iterator[None]:
    """Hold a part of the descriptors at ``folder``, which one process at a time describes.

    Raises:
        ResourceError: another one does.
    """
    with held(folder / f"part-{part}.lock") as free:
        if not free:
            raise ResourceError(
                f"found another process describing part {part} into {folder}, expected one for "
                "each part: wait until it has ended, or choose another `shard` or `out`"
            )
        yield


@contextlib.contextmanager
def finishing(folder: Path) -> Iterator[bool]:
    """Of processes that finish together, one gets True, and writes the artifact."""
    with contextlib.ExitStack() as stack:
        try:
            mine = stack.enter_context(held(folder / "write.lock"))
        except FileNotFoundError:  # written by now, and the folder removed
            mine = False
        yield mine


def _blocks_of(file: Path) -> Iterator[NDArray[np.floating]]:
    """The (N, D) rows of a file in blocks, so that they may be larger than memory."""
    rows = np.load(file, mmap_mode="r", allow_pickle=False)
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]
        release(rows)


def check_descriptors(
    values: NDArray[np.floating], rows: NDArray[np.int64], paths: Sequence[str]
) -> None:
    """Refuse NaN and infinity in (B, D) descriptors of the images ``paths[rows]``.

    Raises:
        NumericsError: names the first image.
    """
    finite = np.isfinite(values).all(1)
    if not finite.all():
        raise NumericsError(
            f"found NaN or infinity describing {paths[int(rows[int(finite.argmin())])]}, expected "
            "finite descriptors: check the image, or train the network again"
        )


def write_features(
    folder: Path,
    out: Path,
    table: ImageTable,
    model: Artifact,
    images: Path,
    left_out: list[LeftOut] | None = None,
    *,
    exit: str = "",
    **config: Any,
) -> FeaturesRecord:
    """Make the finished descriptors of ``folder`` the features artifact at ``out``.

    ``folder`` is removed once that stands, and where images are refused.

    Args:
        left_out: gets the images that could not be read, whose descriptors are all zero; None:
            they are errors.
        exit: early exit of the model that described them.

    Raises:
        DataError: no image could be read, or some could not and ``left_out`` is None.
    """
    about = model.read("model.json", ModelRecord)
    file = folder / "descriptors.npy"
    described = np.concatenate([block.any(1) for block in _blocks_of(file)])
    descriptors: Path | Iterator[NDArray[np.floating]] = file
    if not described.all():
        unread = [table.paths[row] for row in np.flatnonzero(~described)]
        reasons = [LeftOut(path, why_unreadable(images / path)) for path in unread]
        if left_out is None or not described.any():
            # Their rows count as described: the next run looks at the images again.
            shutil.rmtree(folder, ignore_errors=True)
            raise DataError(
                f"found images in {images} that cannot be read, {summary(reasons)}, expected none: "
                "replace or remove them, and run the command again"
            )
        left_out += reasons
        table = table.take(described)
        descriptors = (block[block.any(1)] for block in _blocks_of(file) if block.any())
    if left_out:
        config["left_out"] = [str(item) for item in left_out]
    record = Features.write(
        out,
        descriptors,
        table,
        space=model.space,
        model_digest=model.digest,
        preprocess=about.preprocess,
        source=str(images),
        role=about.role,
        exit=exit,
        config={"model": str(model.path), "images": str(images), **config},
    )
    with alone(folder.parent):
        shutil.rmtree(folder, ignore_errors=True)
    return record
