"""Features artifacts: descriptors of images, written, opened, and several joined to one."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.arrays import map_array
from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import write_json
from edgevpr.artifacts.records import FeaturesRecord
from edgevpr.artifacts.space import check_same_space
from edgevpr.artifacts.tables import read_table
from edgevpr.errors import CorruptArtifactError, DataError, SpaceMismatchError, UsageError
from edgevpr.files import link_or_copy, release
from edgevpr.guard import keeps_inputs
from edgevpr.places.table import ImageTable, concat
from edgevpr.preprocess import Preprocess
from edgevpr.printable import counted

#: How far from 1 the length of a descriptor may be.
LENGTH_SLACK = 0.02
#: Bytes copied at a time.
_AT_ONCE = 1 << 26


class Features:
    """``table`` has the N images, ``descriptors`` (N, D) float16 is a read-only memory map."""

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        self.artifact = open_artifact(path, "features", verify=verify)
        self.record = self.artifact.read("features.json", FeaturesRecord)
        self.table = read_table(self.artifact, "images.csv")
        shape = (self.record.count, self.record.dim)
        self.descriptors: NDArray[np.float16] = map_array(
            self.artifact, "descriptors.npy", np.float16, shape, verify=verify
        )
        if len(self.table) != self.record.count:
            raise CorruptArtifactError(
                f"found {len(self.table)} images in {path}, expected what its record says, "
                f"{self.record.count}: write it again with edgevpr embed"
            )
        if verify:
            self._check_lengths()

    @property
    def space(self) -> str:
        return self.artifact.space

    def _check_lengths(self) -> None:
        """Raise unless every row is of unit length, as far as float16 goes.

        NaN and infinity are left to who uses the rows: they name the image.
        """
        start = 0
        for block in _blocks(self.descriptors):
            rows = np.asarray(block, np.float32)
            length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
            bad = np.isfinite(length) & (np.abs(length - 1) > LENGTH_SLACK)
            if bad.any():
                row = start + int(np.argmax(bad))
                raise CorruptArtifactError(
                    f"found a descriptor of length {length[row - start]:.3g} for "
                    f"{self.table.paths[row]} (row {row} of {self.artifact.path}), expected 1, as "
                    "descriptors are L2-normalized: write it again with edgevpr embed"
                )
            start += len(block)

    @classmethod
    def write(
        cls,
        out: Path,
        descriptors: NDArray[np.floating] | Iterable[NDArray[np.floating]] | Path,
        table: ImageTable,
        *,
        space: str,
        model_digest: str,
        preprocess: Preprocess | None,
        source: str,
        role: Literal["gallery", "query"] = "gallery",
        exit: str = "",
        config: Mapping[str, Any] | None = None,
    ) -> FeaturesRecord:
        """Write the features artifact of N images at ``out``, whole or not at all.

        Args:
            descriptors: (N, D) L2-normalized; or blocks of them, (n, D) each, at least one, which
                are written one by one, so that all of them may be larger than memory; or a
                finished ``.npy`` of (N, D) float16 that nobody writes to any more: it is linked.
            table: the N images, in the order of the descriptors.
            space: id of the descriptor space.
            model_digest: digest of the model artifact whose network described the images.
            preprocess: of that network; None: not known.
            source: where the images came from, in words.
            role: of that network.
            exit: early exit of it that described them; "": the full path.
            config: for ``config.json``, which is left out without it.

        Raises:
            ValueError: the rows are not as many as the images.
            UsageError: something else is at ``out``.
        """
        with write_artifact(out, "features", space=space) as folder:
            to = folder / "descriptors.npy"
            if isinstance(descriptors, Path):
                link_or_copy(descriptors, to)
                shape = np.load(to, mmap_mode="r", allow_pickle=False).shape
            else:
                shape = _write_rows(to, descriptors, len(table))
            if shape[0] != len(table):
                raise ValueError(f"found {counted(shape[0], 'descriptor')}, expected {len(table)}")
            record = FeaturesRecord(
                role=role,
                model_digest=model_digest,
                preprocess=preprocess,
                count=len(table),
                dim=shape[1],
                source=source,
                exit=exit,
            )
            table.save(folder / "images.csv")
            write_json(folder / "features.json", record)
            if config is not None:
                write_json(folder / "config.json", dict(config))
        return record


def _write_rows(
    path: Path, descriptors: NDArray[np.floating] | Iterable[NDArray[np.floating]], count: int
) -> tuple[int, ...]:
    """Write blocks of rows to a new (count, D) float16 file; the shape of what there was."""
    blocks = iter(_blocks(descriptors) if isinstance(descriptors, np.ndarray) else descriptors)
    first = next(blocks)
    rows = np.lib.format.open_memmap(path, "w+", np.float16, (count, first.shape[1]))
    at = 0
    for block in itertools.chain([first], blocks):
        rows[at : at + len(block)] = block
        at += len(block)
        rows.flush()
        release(rows)
    return at, first.shape[1]


def _blocks(descriptors: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """The rows in blocks of ``_AT_ONCE`` bytes of float16, at least one."""
    step = max(_AT_ONCE // (2 * descriptors.shape[1]), 1)
    for start in range(0, max(len(descriptors), 1), step):
        yield descriptors[start : start + step]
        release(descriptors)


def check_full_path(record: FeaturesRecord, shown: Path | str) -> None:
    """Raise unless features are of a network's full path, as those of a map must be.

    Raises:
        UsageError: an early exit described the images.
    """
    if record.exit:
        raise UsageError(
            f"found {shown} described by the early exit {record.exit}, expected the full path, by "
            "which a map is described once for all exits: run edgevpr embed on its images again "
            "and name no exit"
        )


@keeps_inputs("out")
def join(parts: Sequence[Path], out: Path) -> FeaturesRecord:
    """Write one features artifact at ``out`` with the rows of all ``parts``, in order.

    Descriptors are copied a block at a time, so the parts may be larger than memory. Where two
    parts have an image of the same path, every path gets its part's folder name in front.

    Raises:
        SpaceMismatchError: the parts are of different descriptor spaces, or networks.
        DataError: two parts share paths and a folder name.
        UsageError: a part was described by an early exit.
    """
    opened = [Features(part) for part in parts]
    first = opened[0]
    for part, features in zip(parts, opened, strict=True):
        check_full_path(features.record, part)
        check_same_space(features.space, str(part), first.space, str(parts[0]))
        if features.record.model_digest != first.record.model_digest:
            raise SpaceMismatchError(
                f"found {part} by another network than {parts[0]}, expected one network for the "
                "whole map: run edgevpr embed on its images with the same model"
            )
    table = concat(features.table for features in opened)
    if len(set(table.paths)) < len(table):
        table = _tell_apart(table, parts, [len(features.table) for features in opened])
    return Features.write(
        out,
        itertools.chain.from_iterable(_blocks(features.descriptors) for features in opened),
        table,
        space=first.space,
        model_digest=first.record.model_digest,
        preprocess=first.record.preprocess,
        source=", ".join(features.record.source for features in opened),
        role=first.record.role,
        config={"parts": [str(part) for part in parts]},
    )


def _tell_apart(table: ImageTable, parts: Sequence[Path], counts: Sequence[int]) -> ImageTable:
    """The table with each image's path below the folder name of its part."""
    names = [part.resolve().name for part in parts]
    owner = np.repeat(names, counts).tolist()
    paths = [f"{name}/{path}" for name, path in zip(owner, table.paths, strict=True)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None and len(set(paths)) < len(paths):
        raise DataError(
            f"found images of the same paths in two features folders named {twice}, expected to "
            "tell them apart by these names: rename one of the folders"
        )
    return dataclasses.replace(table, paths=paths)
