"""Descriptor files of other programs, as features artifacts.

VPR-methods-evaluation (Berton et al., ICCV 2023) saves ``database_descriptors.npy`` and
``queries_descriptors.npy``, (N, D) float32 in the order of the sorted image paths.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.features import Features, check_full_path
from edgevpr.artifacts.folder import open_artifact
from edgevpr.artifacts.manifest import MANIFEST, Manifest, read_json, sha256_file
from edgevpr.artifacts.records import FeaturesRecord, ModelRecord
from edgevpr.data.image_folder import number_places
from edgevpr.data.names import parse_utm_name
from edgevpr.errors import DataError, SpaceMismatchError, UsageError
from edgevpr.files import release
from edgevpr.guard import keeps_inputs
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.printable import counted, printable

#: Bytes of float64 rows that are looked at at a time.
_AT_ONCE = 1 << 26
#: Most bytes of a list of images.
_MOST_TEXT = 1 << 30


@dataclass(frozen=True)
class _Space:
    """The descriptor space that a file's descriptors are of, and what is known of their network."""

    space: str
    model_digest: str
    role: Literal["gallery", "query"]
    preprocess: Preprocess | None


@keeps_inputs("out")
def import_descriptors(
    descriptors: Path,
    images: Path,
    out: Path,
    *,
    network: str = "",
    checkpoint: Path | None = None,
    space_of: Path | None = None,
    root: Path | None = None,
) -> FeaturesRecord:
    """Write the features artifact of descriptors that another program computed.

    The file is read in blocks and may be larger than memory; rows are divided by their length.

    Args:
        descriptors: ``.npy`` of (N, D) float16, float32 or float64, row i of image i.
        images: N lines of text, a path each whose file name is ``@easting@northing@...``; or a
            ``.csv`` with a column ``path`` and places, as an ``images.csv`` has.
        network: name of the network, which defines the descriptor space with the digest of its
            ``checkpoint`` and D: files of the same three are of one space.
        checkpoint: file of the network's weights; only its digest is used.
        space_of: in place of a name: a features or model artifact of the same network, whose space
            the descriptors are of.
        root: folder that the paths of the images become relative to; None: they stay as they are.

    Raises:
        UsageError: neither ``network`` nor ``space_of``, or both.
        DataError: no such file, another number of images than rows, images without a place or
            twice, or rows that are no descriptors: NaN, infinite, all zero.
        SpaceMismatchError: ``space_of`` has another D.
    """
    rows = _open_rows(descriptors)
    space = _space(network, checkpoint, space_of, rows.shape[1], descriptors)
    table = _table(images, root)
    if len(table) != len(rows):
        raise DataError(
            f"found {counted(len(rows), 'descriptor')} in {descriptors} and "
            f"{counted(len(table), 'image')} in {images}, expected as many: pass the list of the "
            "images that were described, in their order"
        )
    return Features.write(
        out,
        _unit_rows(rows, table, descriptors),
        table,
        space=space.space,
        model_digest=space.model_digest,
        preprocess=space.preprocess,
        source=f"{descriptors}, {images}",
        role=space.role,
        config={
            "descriptors": str(descriptors),
            "images": str(images),
            "network": network,
            "checkpoint": None if checkpoint is None else str(checkpoint),
            "space_of": None if space_of is None else str(space_of),
        },
    )


def _space(
    network: str, checkpoint: Path | None, space_of: Path | None, dim: int, descriptors: Path
) -> _Space:
    if space_of is not None:
        if network or checkpoint is not None:
            raise UsageError(
                "found `space_of` with `network` or `checkpoint`, expected one of them, because a "
                "name defines a space of its own: leave out `network` and `checkpoint`"
            )
        return _joined(space_of, dim, descriptors)
    if not network.strip():
        raise UsageError(
            "found neither `network` nor `space_of`, expected what the descriptors are of: pass "
            "`network` with its name, the same for all files of that network"
        )
    weights = ""
    if checkpoint is not None:
        if not checkpoint.is_file():
            raise DataError(
                f"found no file at {checkpoint}, expected the network's weights: check the path"
            )
        weights = sha256_file(checkpoint)
    identity = ["imported", network.strip(), weights, dim]
    digest = hashlib.sha256(msgspec.json.encode(identity)).hexdigest()
    return _Space(f"imported-{dim}-{digest[:12]}", digest, "gallery", None)


def _joined(source: Path, dim: int, descriptors: Path) -> _Space:
    """The space of a features or model artifact."""
    manifest = source / MANIFEST
    kind = read_json(manifest, Manifest).kind if manifest.is_file() else ""
    record: FeaturesRecord | ModelRecord
    if kind == "model":
        opened = open_artifact(source, "model")
        record, digest = opened.read("model.json", ModelRecord), opened.digest
    else:
        opened = open_artifact(source, "features")
        record = opened.read("features.json", FeaturesRecord)
        check_full_path(record, source)
        digest = record.model_digest
    if record.dim != dim:
        raise SpaceMismatchError(
            f"found {dim}-d descriptors in {descriptors}, expected {record.dim}-d, those of "
            f"{source}: name artifacts of the same network as `space_of`"
        )
    return _Space(opened.space, digest, record.role, record.preprocess)


def _open_rows(path: Path) -> NDArray[np.floating]:
    """(N, D) values of a ``.npy`` file as a read-only memory map."""
    expected = "expected a .npy file of (N, D) float32"
    try:
        rows = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise DataError(f"found no {path}, {expected}: check the path") from None
    except Exception as error:  # numpy evaluates the header as Python and raises what that raises
        first = " ".join(str(error).split())[:160]
        raise DataError(
            f"found no array in {path} ({printable(first)}), {expected}: save the descriptors with "
            "numpy.save"
        ) from error
    if rows.ndim != 2 or rows.dtype.kind != "f" or 0 in rows.shape:
        shape = ", ".join(map(str, rows.shape))
        raise DataError(
            f"found {rows.dtype} of shape ({shape}) in {path}, {expected}: save one row an image"
        )
    return rows


def _unit_rows(
    rows: NDArray[np.floating], table: ImageTable, path: Path
) -> Iterator[NDArray[np.floating]]:
    """Blocks of rows divided by their length."""
    step = max(_AT_ONCE // (8 * rows.shape[1]), 1)
    for start in range(0, len(rows), step):
        block = np.asarray(rows[start : start + step], np.float64)
        # By the largest value first, whose square neither overflows nor vanishes.
        largest = np.abs(block).max(1, initial=0, keepdims=True)
        bad = ~(np.isfinite(largest[:, 0]) & (largest[:, 0] > 0))
        if bad.any():
            row = int(np.argmax(bad))
            found = "all zeros" if largest[row, 0] == 0 else "NaN or infinite values"
            raise DataError(
                f"found {found} in row {start + row} of {path}, {table.paths[start + row]}, "
                "expected a descriptor in each row: describe that image again, or remove its row "
                "and its image from both files"
            )
        block = block / largest  # not in place: float64 rows are the file's own
        block /= np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
        yield block
        release(rows)


def _table(images: Path, root: Path | None) -> ImageTable:
    """The images that a list or a table names, with their places."""
    if images.suffix.lower() == ".csv":
        table = ImageTable.load(images)
        nowhere = (table.lat == 0) & (table.lon == 0)  # what receivers write without a fix
        table = replace(
            table,
            lat=np.where(nowhere, np.nan, table.lat),
            lon=np.where(nowhere, np.nan, table.lon),
        )
    else:
        table = _named(_lines(images))
    if root is not None:
        table = replace(table, paths=[_below(root, path, images) for path in table.paths])
    seen: set[str] = set()
    for path in table.paths:
        if path in seen or not path:
            raise DataError(
                f"found {f'{path} twice' if path else 'an image without a path'} in {images}, "
                "expected a path of its own for each image: correct the file"
            )
        seen.add(path)
    table = number_places(table.with_positions())
    unplaced = np.flatnonzero(table.place < 0)
    if len(unplaced):
        raise DataError(
            f"found {len(unplaced)} of the {len(table)} images in {images} without a place, the "
            f"first being {table.paths[unplaced[0]]}, expected a column place, or easting and "
            "northing, or lat and lon: complete the file"
        )
    return table


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_TEXT)
    except OSError as error:
        raise DataError(
            f"found {path} unreadable ({error.strerror}), expected a list of images, a path a "
            "line: check the path"
        ) from None
    if b"\0" in data[:4096]:
        raise DataError(
            f"found no text in {path}, expected a list of images, a path a line: save it in UTF-8"
        )
    lines = data.decode("utf-8-sig", "surrogateescape").replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _named(paths: list[str]) -> ImageTable:
    """A table of images whose file names say their positions."""
    names = [parse_utm_name(path) for path in paths]
    return ImageTable.build(
        paths,
        place=[name.place for name in names],
        easting=[name.easting for name in names],
        northing=[name.northing for name in names],
        zone=[name.zone for name in names],
        letter=[name.letter for name in names],
        lat=[name.lat for name in names],
        lon=[name.lon for name in names],
        heading=[name.heading for name in names],
        time=[name.time for name in names],
    )


def _below(root: Path, path: str, images: Path) -> str:
    """The path relative to ``root``, POSIX separators."""
    found = Path(os.path.relpath(os.path.abspath(path), os.path.abspath(root)))
    if ".." in found.parts:
        raise DataError(
            f"found {path} in {images}, expected images below the `root` {root}: pass the folder "
            "that all of them are in"
        )
    return found.as_posix()
