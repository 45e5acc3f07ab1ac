"""Parts of a small world for the runtime: places as flat colours, bundles, features, a camera.

The network is a real ONNX graph that ONNX Runtime executes: colours pooled over the four quarters
of the image, through a fixed linear layer, L2-normalized.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgevpr.artifacts.features import Features
from edgevpr.artifacts.folder import write_artifact
from edgevpr.artifacts.manifest import sha256_file, write_json
from edgevpr.artifacts.records import BundleRecord
from edgevpr.compile.index.build_index import build_gallery
from edgevpr.places.table import ImageTable
from edgevpr.preprocess import Preprocess
from edgevpr.retrieval.projection import Projection
from edgevpr.runtime import Frame, OnnxRunner

PLACES, VIEWS, DIM = 40, 3, 48
SIDE = 16
SPACE = "boq-48-0123456789ab"
PREPROCESS = Preprocess(SIDE, SIDE)


@dataclass(frozen=True)
class World:
    """Folders of one small world."""

    root: Path
    bundle: Path
    features: Path
    gallery: Path
    drive: Path  # folder of images, one a place, places 0, 1, 2, ...

    def image(self, place: int) -> Path:
        return self.drive / f"{place:03d}.png"


def place_image(place: int, view: int = 0) -> NDArray[np.uint8]:
    """(48, 64, 3) uint8 BGR: four quarters in the place's colours, a little different by view."""
    colours = np.random.default_rng(place).integers(30, 225, (2, 2, 3))
    shift = np.random.default_rng([place, view]).integers(-6, 7, (2, 2, 3)) if view else 0
    return np.kron(colours + shift, np.ones((24, 32, 1))).astype(np.uint8)


def write_graph(path: Path, projection: Projection | None = None, *, nan: bool = False) -> None:
    """A graph of the contract: images (1, H, W, 3) uint8 -> descriptor (1, DIM or d) float32."""
    weight = np.random.default_rng(7).normal(size=(12, DIM)).astype(np.float32)
    if projection is not None:
        # normalize(P (x - m)) of a normalized x: the mean is zero, so scale does not matter.
        weight = weight @ projection.matrix.T
    if nan:
        weight[0, 0] = np.nan
    width = weight.shape[1]
    quarter = SIDE // 2
    constants = {
        "shape": np.array([1, 2, quarter, 2, quarter, 3], np.int64),
        "flat": np.array([1, 12], np.int64),
        "grey": np.array(127.5, np.float32),
        "weight": weight,
        "axes": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "grey"], ["centred"]),
        helper.make_node("Reshape", ["centred", "shape"], ["blocks"]),
        helper.make_node("ReduceMean", ["blocks"], ["pooled"], axes=[2, 4], keepdims=0),
        helper.make_node("Reshape", ["pooled", "flat"], ["colours"]),
        helper.make_node("MatMul", ["colours", "weight"], ["wide"]),
        helper.make_node("LpNormalization", ["wide"], ["descriptor"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "pooled-colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, [1, width])],
        [numpy_helper.from_array(v, k) for k, v in constants.items() if k != "axes"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_bundle(
    path: Path,
    *,
    space: str = SPACE,
    runtime: str = "onnxruntime",
    gallery: Path | None = None,
    nan: bool = False,
    engines: Sequence[str] = (),
    extra: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """A bundle artifact; with ``gallery``, its projection is fused into the graph."""
    with write_artifact(path, "bundle", space=space) as folder:
        digest, projection = "", None
        if gallery is not None:
            digest = sha256_file(gallery / "projection.npy")
            projection = Projection.load(gallery / "projection.npy")
        write_graph(folder / "model.onnx", projection, nan=nan)
        record = BundleRecord(
            target="cpu",
            runtime=runtime,
            precision="fp32",
            preprocess=PREPROCESS,
            input="images",
            output="descriptor",
            dim=DIM,
            output_dim=DIM if projection is None else projection.shape[0],
            projection=digest,
            model_digest="m",
            graph_sha256=sha256_file(folder / "model.onnx"),
            engines=list(engines),
            evidence={},
        )
        write_json(folder / "bundle.json", record)
        extra(folder)
    return path


def describe(images: Sequence[NDArray[np.uint8]], bundle: Path) -> NDArray[np.float32]:
    """BGR images of any size -> (N, DIM) through the bundle's graph."""
    small = [cv2.cvtColor(PREPROCESS.resize(i), cv2.COLOR_BGR2RGB) for i in images]
    with OnnxRunner(bundle / "model.onnx", threads=1) as runner:
        return runner.infer(np.stack(small))


def write_features(
    path: Path,
    descriptors: NDArray[np.float32],
    space: str = SPACE,
    *,
    name: str = "place",
    start_m: float = 500_000,
) -> Path:
    """Features of PLACES x VIEWS gallery images, ordered by place, 100 m apart."""
    count = len(descriptors)
    place = np.arange(count) // VIEWS
    table = ImageTable.build(
        [f"{name}-{p:03d}-{i % VIEWS}.jpg" for i, p in enumerate(place)],
        place=place,
        easting=start_m + 100.0 * place,
        northing=np.full(count, 6_000_000.0),
        zone=np.full(count, 33),
        letter=["U"] * count,
    ).with_positions()
    Features.write(
        path, descriptors, table, space=space, model_digest="m", preprocess=PREPROCESS,
        source="test",
    )  # fmt: skip
    return path


def build_world(root: Path) -> World:
    """40 places, a bundle, a gallery of 3 views each, and a drive past each of them."""
    bundle = write_bundle(root / "bundle")
    views = [place_image(p, v) for p in range(PLACES) for v in range(1, VIEWS + 1)]
    features = write_features(root / "features", describe(views, bundle))
    build_gallery(features, root / "gallery")
    drive = root / "drive"
    drive.mkdir()
    for place in range(PLACES):
        cv2.imwrite(str(drive / f"{place:03d}.png"), place_image(place))
    return World(root, bundle, features, root / "gallery", drive)


class FakeCamera:
    """The part of ``cv2.VideoCapture`` that a live source uses, driven by the test.

    ``give(n)`` lets n frames through and returns once the source has taken all of them, because
    it has come back for the next.
    """

    def __init__(self) -> None:
        self._wanted = threading.Semaphore(0)
        self._ready = threading.Semaphore(0)
        self._count = 0
        self._gone = False
        self.released = threading.Event()

    def grab(self) -> bool:
        self._wanted.release()
        self._ready.acquire()
        return not self._gone

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        self._count += 1
        return True, np.full((8, 8, 3), self._count - 1, np.uint8)

    def release(self) -> None:
        self.released.set()

    def give(self, count: int) -> None:
        self._wanted.acquire()
        for _ in range(count):
            self._ready.release()
            self._wanted.acquire()
        self._wanted.release()

    def late(self) -> None:
        """One frame more, without waiting for it to be taken."""
        self._ready.release()

    def unplug(self) -> None:
        self._gone = True
        self._ready.release()


def frame(image: NDArray[np.uint8] | None, *, source: str = "test") -> Frame:
    """A frame as a source would give it."""
    return Frame(0, source, image, time.monotonic(), None, 0.0, "" if image is not None else "bad")
