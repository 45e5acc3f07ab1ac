"""A features artifact, opened for reading: what ``edgevpr embed`` wrote. Several, joined to one."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import write_json
from edgevpr.artifacts.records import FeaturesRecord
from edgevpr.artifacts.space import check_same_space
from edgevpr.errors import CorruptArtifactError, DataError, SpaceMismatchError
from edgevpr.files import release
from edgevpr.places.table import ImageTable, concat

#: Bytes copied at a time.
_AT_ONCE = 1 << 26


class Features:
    """``table`` has the N images, ``descriptors`` (N, D) float16 is a read-only memory map."""

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        self.artifact = open_artifact(path, "features", verify=verify)
        self.record = self.artifact.read("features.json", FeaturesRecord)
        self.table = ImageTable.load(self.artifact.file("images.csv"))
        self.descriptors: NDArray[np.float16] = np.load(
            self.artifact.file("descriptors.npy"), mmap_mode="r", allow_pickle=False
        )
        shape = (self.record.count, self.record.dim)
        if self.descriptors.shape != shape or len(self.table) != self.record.count:
            raise CorruptArtifactError(
                f"{path} holds descriptors {self.descriptors.shape} and {len(self.table)} images, "
                f"its record says {shape}: write it again with edgevpr embed"
            )

    @property
    def space(self) -> str:
        return self.artifact.space


def join(parts: Sequence[Path], out: Path) -> FeaturesRecord:
    """Write one features artifact at ``out`` with the rows of all ``parts``, in order.

    Descriptors are copied a block at a time, so the parts may be larger than memory. Where two
    parts have an image of the same path, every path gets its part's folder name in front.

    Raises:
        SpaceMismatchError: the parts are of different descriptor spaces, or networks.
        DataError: two parts share images and a folder name, so that nothing tells them apart.
    """
    opened = [Features(part) for part in parts]
    first = opened[0]
    for part, features in zip(parts, opened, strict=True):
        check_same_space(features.space, str(part), first.space, str(parts[0]))
        if features.record.model_digest != first.record.model_digest:
            raise SpaceMismatchError(
                f"found {part} by another network than {parts[0]}, expected one network for the "
                "whole map: run edgevpr embed on its images with the same model"
            )
    table = concat(features.table for features in opened)
    if len(set(table.paths)) < len(table):
        table = _tell_apart(table, parts, [len(features.table) for features in opened])
    record = msgspec.structs.replace(
        first.record, count=len(table), source=", ".join(f.record.source for f in opened)
    )
    with write_artifact(out, "features", space=first.space) as folder:
        rows = np.lib.format.open_memmap(
            folder / "descriptors.npy", "w+", np.float16, (record.count, record.dim)
        )
        at, step = 0, max(_AT_ONCE // (2 * record.dim), 1)
        for features in opened:
            for start in range(0, len(features.descriptors), step):
                block = features.descriptors[start : start + step]
                rows[at : at + len(block)] = block
                at += len(block)
                rows.flush()
                release(rows)
                release(features.descriptors)
        table.save(folder / "images.csv")
        write_json(folder / "features.json", record)
        write_json(folder / "config.json", {"parts": [str(part) for part in parts]})
    return record


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
