"""ONNX export of a network that is cut at its early exits: one graph a segment, adapter and tail.

``seg1.onnx`` turns uint8 images into the state of the first exit, each further segment a state into
the next one and the last into tokens; ``adapt-NAME.onnx`` turns an exit's state into tokens,
``tail.onnx`` tokens into descriptors. Each weight of the network lies in one of them.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgevpr.errors import NumericsError
from edgevpr.train.anytime.store import load_anytime
from edgevpr.train.networks.export import PARITY, Deployed, write_onnx

#: Images that the graphs are compared with torch on.
IMAGES = 4


def export_segments(model: Path, folder: Path) -> float:
    """Export a model artifact with early exits; returns the largest difference to torch.

    The difference is of the descriptors of random images through any exit or the whole path, each
    graph in ONNX Runtime reading what the one before it gives.

    Args:
        model: model artifact.
        folder: to write the graphs into; static shapes, opset 20.

    Raises:
        ArtifactError: the model has no exits.
        NumericsError: ONNX Runtime and torch differ by more than the limit of whole networks.
    """
    anytime, record, _ = load_anytime(model)
    anytime.eval()
    size = (1, record.preprocess.height, record.preprocess.width, 3)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, size, dtype=np.uint8) for _ in range(IMAGES)]
    folder.mkdir(parents=True, exist_ok=True)
    first = Deployed(anytime.segments[0], record.preprocess).eval()
    modules = [first, *list(anytime.segments)[1:]]
    state, given, tokens = torch.from_numpy(images[0]), "images", torch.empty(0)
    routes: dict[str, list[str]] = {}
    way: list[str] = []
    with torch.no_grad():
        for i, module in enumerate(modules):
            name, last = f"seg{i + 1}", i == len(modules) - 1
            gives = "tokens" if last else "state_out" if i else "state"
            write_onnx(module, state, folder / f"{name}.onnx", given, gives)
            state, given, way = module(state), "state", [*way, name]
            if last:
                tokens = state
                break
            exit = anytime.exits[i]
            head = anytime.heads[exit]
            write_onnx(head, state, folder / f"adapt-{exit}.onnx", "state", "tokens")
            routes[exit] = [*way, f"adapt-{exit}", "tail"]
        routes["full"] = [*way, "tail"]
        write_onnx(anytime.tail, tokens, folder / "tail.onnx", "tokens", "descriptor")

        def torch_says(image: Tensor) -> dict[str, Tensor]:
            return anytime.forward_exits(first.normalize(image), tuple(routes))

        worst = _worst(folder, routes, images, torch_says)
    name = max(worst, key=lambda exit: worst[exit])
    if not worst[name] <= PARITY:
        raise NumericsError(
            f"found a difference of {worst[name]:.1e} between the exported graphs and torch at "
            f"exit {name}, expected at most {PARITY:.0e}: pass `exits` none, and report the "
            "backbone's name, its operators export wrongly"
        )
    return worst[name]


def _worst(
    folder: Path,
    routes: dict[str, list[str]],
    images: list[np.ndarray],
    torch_says: Callable[[Tensor], dict[str, Tensor]],
) -> dict[str, float]:
    """Largest absolute difference of any component of a descriptor, by exit."""
    import onnxruntime

    names = dict.fromkeys(name for route in routes.values() for name in route)
    sessions = {
        name: onnxruntime.InferenceSession(
            str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
        for name in names
    }
    worst = dict.fromkeys(routes, 0.0)
    for image in images:
        expected = torch_says(torch.from_numpy(image))
        for exit, route in routes.items():
            found = image
            for name in route:
                own = sessions[name]
                (found,) = own.run(None, {own.get_inputs()[0].name: found})
            difference = float(np.abs(found - expected[exit].numpy()).max())
            worst[exit] = max(worst[exit], difference)
    return worst
