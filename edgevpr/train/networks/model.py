"""Model artifacts: saving, loading, and starting a network from another's weights."""

import hashlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import Artifact, write_json
from edgevpr.artifacts.records import ModelRecord, check_own
from edgevpr.artifacts.space import space_id
from edgevpr.errors import CorruptArtifactError, DataError, NumericsError, UsageError
from edgevpr.files import write_atomic
from edgevpr.preprocess import Preprocess
from edgevpr.train.networks.architecture import Architecture
from edgevpr.train.networks.network import Network


def save_model(
    out: Path,
    network: Network,
    *,
    role: str,
    preprocess: Preprocess,
    training: dict[str, Any],
    config: dict[str, Any],
    space: str | None = None,
    metrics_csv: str = "",
) -> None:
    """Write a model artifact.

    Args:
        out: its folder.
        network: whose weights are saved.
        role: "gallery" (defines a descriptor space) or "query" (was trained into ``space``).
        space: the space of a query network; a gallery network's follows from its weights.

    Raises:
        NumericsError: the network holds NaN or infinite weights.
    """
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise NumericsError(
                f"found NaN or infinite values in the weights {name}, expected finite ones: train "
                "again with a lower `lr` or with `precision` fp32"
            )
    weights = save(state)
    if role == "gallery":
        digest = hashlib.sha256(weights).hexdigest()
        space = space_id(network.architecture.to_dict(), digest, preprocess, network.dim)
    record = ModelRecord(
        role="gallery" if role == "gallery" else "query",
        architecture=network.architecture.to_dict(),
        preprocess=preprocess,
        dim=network.dim,
        training=training,
    )
    with write_artifact(out, "model", space=space) as folder:
        (folder / "weights.safetensors").write_bytes(weights)
        write_json(folder / "model.json", record)
        write_json(folder / "config.json", config)
        if metrics_csv:
            write_atomic(folder / "metrics.csv", metrics_csv.encode())


def load_model(path: Path, *, verify: bool = True) -> tuple[Network, ModelRecord, Artifact]:
    """Open a model artifact and rebuild its network in evaluation mode, on the CPU.

    Raises:
        UsageError: its network is an ONNX graph, which only describes images (``load_network``).
    """
    opened = open_artifact(path, "model", verify=verify)
    record = opened.read("model.json", ModelRecord)
    check_own(record, path)
    size = (record.preprocess.height, record.preprocess.width)
    network = Network(Architecture.from_dict(record.architecture), size)
    try:
        network.load_state_dict(_checked_weights(opened), strict=True)
    except (SafetensorError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise CorruptArtifactError(
            f"found weights of another architecture in {path} ({first}), expected those of its "
            "model.json: write the model again with edgevpr train"
        ) from error
    return network.eval(), record, opened


def _checked_weights(opened: Artifact) -> dict[str, Tensor]:
    """Tensors by name, of the bytes that were hashed; those are gone when this returns."""
    name = "weights.safetensors"
    opened.file(name)
    tensors: dict[str, Tensor] = load(opened.bytes(name, opened.manifest.files[name].size))
    return tensors


def start_from(path: Path, network: Network) -> None:
    """Fill a network from a safetensors file of all its tensors; half precision is lifted.

    Raises:
        DataError: the file is no safetensors file, or of another architecture.
    """
    try:
        network.load_state_dict(load_file(path), strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        first = " ".join(str(error).split())[:200]
        raise DataError(
            f"found no weights of this network in {path} ({first}), expected a safetensors file of "
            "the same backbone and aggregator arguments: pass other `weights`"
        ) from error


def copy_aggregator(source: Path, network: Network) -> int:
    """Start a network's aggregator from another model's; returns how many tensors were copied.

    Both networks answer in one descriptor space, so queries, attention and output weights of the
    same shape carry over. The first projection, whose shape follows the backbone, stays as it is
    where the channels differ.

    Raises:
        UsageError: the aggregators are of another kind or have other arguments.
    """
    other, _, _ = load_model(source)
    theirs, ours = other.architecture, network.architecture
    if (theirs.aggregator, theirs.aggregator_args) != (ours.aggregator, ours.aggregator_args):
        raise UsageError(
            f"found {theirs.aggregator} {theirs.aggregator_args} in `aggregator_from` {source}, "
            f"expected {ours.aggregator} {ours.aggregator_args} as in this network: pass the same "
            "`aggregator` and `aggregator_args`"
        )
    own = network.aggregator.state_dict()
    state = other.aggregator.state_dict()
    fitting = {name: value for name, value in state.items() if own[name].shape == value.shape}
    network.aggregator.load_state_dict(fitting, strict=False)
    return len(fitting)
