"""Gallery networks that are ONNX graphs: any network describes a map, run by ONNX Runtime."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgevpr.artifacts.folder import write_artifact
from edgevpr.artifacts.manifest import MOST_IN_MEMORY, write_json
from edgevpr.artifacts.records import ModelRecord
from edgevpr.artifacts.space import space_id
from edgevpr.errors import DataError, NumericsError
from edgevpr.guard import keeps_inputs
from edgevpr.optional import require
from edgevpr.preprocess import Preprocess

#: The graph's file in a model artifact.
GRAPH = "network.onnx"
#: Largest difference between an image described alone and among others; both of unit length.
BATCH_PARITY = 1e-3


class OnnxNetwork(nn.Module):
    """(B, 3, H, W) normalized RGB -> (B, D) L2-normalized descriptors, by ONNX Runtime.

    A graph whose batch is fixed at 1 is run once an image. On the GPU where the installed ONNX
    Runtime has CUDA, whatever device the images are on; the descriptors are on the CPU.

    Args:
        data: the graph, with its weights inside.
        image_size: (height, width) it will see.
        shown: where the graph is from, for messages.

    Raises:
        DataError: ONNX Runtime does not load it, or it is no graph from one image batch of this
            size to one descriptor each.
    """

    def __init__(self, data: bytes, image_size: tuple[int, int], shown: Path) -> None:
        super().__init__()
        self.shown = shown
        self.session: Any = _session(data, shown)
        self.given, self.one_by_one = _signature(self.session, image_size, shown)
        found = self._run(np.zeros((1, 3, *image_size), np.float32))
        if found.ndim != 2 or found.shape[0] != 1 or found.dtype.kind != "f" or not found.size:
            raise DataError(
                f"found an output of shape {found.shape} and type {found.dtype} for one image in "
                f"{shown}, expected a descriptor, (1, D) float32: export the network with its "
                "aggregation"
            )
        self.dim = int(found.shape[1])

    def forward(self, images: Tensor) -> Tensor:
        """Raises NumericsError where a descriptor is all zeros."""
        pixels = images.detach().cpu().float().numpy()
        if self.one_by_one:
            rows = [self._run(pixels[i : i + 1]) for i in range(len(pixels))]
            found = np.concatenate(rows)
        else:
            found = self._run(pixels)
        if not found.any(1).all():
            raise NumericsError(
                f"found a descriptor of zeros by {self.shown}, expected a direction: check `mean` "
                "and `std` of its edgevpr models command"
            )
        return nn.functional.normalize(torch.from_numpy(found).float(), dim=1)

    def _run(self, pixels: NDArray[np.float32]) -> NDArray[np.floating]:
        try:
            found: NDArray[np.floating] = self.session.run(None, {self.given: pixels})[0]
        except Exception as error:  # onnxruntime has a class of its own for each failure
            raise DataError(
                f"found {self.shown} failing on {len(pixels)} images of {pixels.shape[2]} x "
                f"{pixels.shape[3]} px ({_first(error)}), expected a descriptor each: pass the "
                "`input_size` that it was exported for, or export it again"
            ) from error
        return found


@keeps_inputs("out")
def import_onnx(graph: Path, out: Path, preprocess: Preprocess) -> ModelRecord:
    """Write an ONNX graph as a model artifact whose network describes images.

    It defines a descriptor space of its own, by the graph's digest, the preprocessing and D.

    Raises:
        DataError: no graph from (B, 3, H, W) float32 to (B, D) float32 that ONNX Runtime loads, or
            one that describes an image otherwise among others.
        NumericsError: it gives NaN, infinity or zeros.
    """
    data = _read(graph)
    network = OnnxNetwork(data, (preprocess.height, preprocess.width), graph)
    _check(network, preprocess, graph)
    digest = hashlib.sha256(data).hexdigest()
    record = ModelRecord(
        role="gallery",
        architecture={},
        preprocess=preprocess,
        dim=network.dim,
        training={"onnx": str(graph), "sha256": digest},
        graph=GRAPH,
    )
    space = space_id({"aggregator": "onnx"}, digest, preprocess, network.dim)
    with write_artifact(out, "model", space=space) as folder:
        (folder / GRAPH).write_bytes(data)
        write_json(folder / "model.json", record)
        write_json(folder / "config.json", {"onnx": str(graph)})
    return record


def _check(network: OnnxNetwork, preprocess: Preprocess, graph: Path) -> None:
    """Raise unless two random images get the same descriptors alone and together."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, preprocess.height, preprocess.width, 3), dtype=np.uint8)
    pixels = torch.from_numpy(preprocess.normalize(images))
    alone = torch.cat([network(pixels[:1]), network(pixels[1:])])
    if not bool(alone.isfinite().all()):
        raise NumericsError(
            f"found NaN or infinite values in the descriptors by {graph}, expected numbers: check "
            "`mean` and `std`, or export the network in float32"
        )
    worst = float((network(pixels) - alone).abs().max())
    if not worst <= BATCH_PARITY:
        raise DataError(
            f"found an image described otherwise by {worst:.1e} among others by {graph}, expected "
            f"at most {BATCH_PARITY:.0e}: export the network in evaluation mode"
        )


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_IN_MEMORY:
            raise DataError(
                f"found {path} of more than 2 GiB, expected an ONNX graph: import descriptors in "
                "its place, with edgevpr features import"
            )
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"found {path} unreadable ({error.strerror}), expected an ONNX graph: check the path"
        ) from None


def _session(data: bytes, shown: Path) -> Any:
    """A session of a graph in memory; weights in files beside it are not looked for."""
    runtime = require("onnxruntime", extra="compile")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what it prints is in the sentence
    # Without it, files named by the graph are read from the working folder.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", "/nonexistent"
    )
    there = runtime.get_available_providers()
    providers = [
        name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in there
    ]
    try:
        return runtime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # onnxruntime has a class of its own for each failure
        raise DataError(
            f"found no graph that ONNX Runtime {runtime.__version__} loads in {shown} "
            f"({_first(error)}), expected an ONNX file with its weights inside: export the network "
            "again in float32, without external data and for this ONNX Runtime"
        ) from error


def _signature(session: Any, image_size: tuple[int, int], shown: Path) -> tuple[str, bool]:
    """Name of the input, and whether it takes one image at a time.

    Raises:
        DataError: it is no graph from images of this size to a descriptor each.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    height, width = image_size
    expected = (
        f"expected one input (batch, 3, {height}, {width}) and one output (batch, D), float32"
    )
    if len(inputs) != 1 or len(outputs) != 1:
        raise DataError(
            f"found {len(inputs)} inputs and {len(outputs)} outputs in {shown}, {expected}: export "
            "the network with its descriptor alone"
        )
    shape = inputs[0].shape
    wanted = (1, 3, height, width)
    fits = len(shape) == 4 and all(
        not isinstance(side, int) or side == want for side, want in zip(shape, wanted, strict=True)
    )
    if inputs[0].type != "tensor(float)" or not fits:
        sides = ", ".join(str(side) for side in shape)
        raise DataError(
            f"found the input {inputs[0].name} ({sides}), {inputs[0].type}, in {shown}, "
            f"{expected}: pass its own `input_size`, or export it with a free batch or 1"
        )
    return str(inputs[0].name), isinstance(shape[0], int)


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
