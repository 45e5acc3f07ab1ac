"""A features artifact, opened for reading: what ``edgevpr embed`` wrote."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevpr import artifact
from edgevpr.errors import CorruptArtifactError
from edgevpr.places import ImageTable
from edgevpr.records import FeaturesRecord


class Features:
    """``table`` has the N images, ``descriptors`` (N, D) float16 is a read-only memory map."""

    def __init__(self, path: Path, *, verify: bool = True) -> None:
        self.artifact = artifact.open_artifact(path, "features", verify=verify)
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
