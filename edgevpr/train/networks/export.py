"""ONNX export of a trained model, from uint8 images to descriptors."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgevpr.errors import NumericsError
from edgevpr.preprocess import Preprocess
from edgevpr.train.networks.model import load_model

#: largest absolute difference between torch and ONNX Runtime that an export may show.
PARITY = 1e-4


class Deployed(nn.Module):
    """(1, H, W, 3) uint8 RGB -> (1, D) descriptor: normalization and final L2 norm inside."""

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.network = network
        std = torch.tensor(preprocess.std).view(1, 3, 1, 1) * 255
        self.register_buffer("scale", 1 / std)
        self.register_buffer("shift", -torch.tensor(preprocess.mean).view(1, 3, 1, 1) * 255 / std)

    def forward(self, images: Tensor) -> Tensor:
        descriptor: Tensor = self.network(self.normalize(images))
        return descriptor

    def normalize(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) normalized."""
        x = images.permute(0, 3, 1, 2).float()
        return x * self.get_buffer("scale") + self.get_buffer("shift")


def export_onnx(model: Path, out: Path) -> float:
    """Export a model artifact; returns the largest absolute difference to torch on random images.

    Graph: input ``images`` (1, H, W, 3) uint8 RGB, output ``descriptor`` (1, D) float32,
    static shapes, opset 20.

    Raises:
        NumericsError: ONNX Runtime and torch differ by more than ``PARITY``.
    """
    import onnxruntime

    network, about, _ = load_model(model)
    deployed = Deployed(network, about.preprocess).eval()
    shape = (1, about.preprocess.height, about.preprocess.width, 3)
    rng = np.random.default_rng(0)
    example = torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_onnx(deployed, example, out, "images", "descriptor")
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    worst = 0.0
    for _ in range(4):
        images = rng.integers(0, 256, shape, dtype=np.uint8)
        with torch.no_grad():
            expected = deployed(torch.from_numpy(images)).numpy()
        found = session.run(None, {"images": images})[0]
        worst = max(worst, float(np.abs(found - expected).max()))
    if not worst <= PARITY:
        raise NumericsError(
            f"found a difference of {worst:.1e} between the exported graph and torch, expected at "
            f"most {PARITY:.0e}: report the backbone's name, its operators export wrongly"
        )
    return worst


def write_onnx(module: nn.Module, example: Tensor, out: Path, given: str, gives: str) -> None:
    """Export a module with one tensor in and one out: opset 20, the example's static shape."""
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=20,
            input_names=[given],
            output_names=[gives],
            verbose=False,
        )
        assert program is not None
        program.save(str(out), external_data=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its stages to stdout and warns about its own internals."""
    levels = {name: logging.getLogger(name).level for name in ("torch.onnx", "onnxscript")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    with (
        Path(os.devnull).open("w") as sink,
        contextlib.redirect_stdout(sink),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
