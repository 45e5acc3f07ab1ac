"""Files of anytime networks and of codebooks.

An anytime network is a model artifact as any other: ``weights.safetensors`` holds the whole
network, which opens without its exits. ``exits.safetensors`` beside it holds codebook and
adapters. Its descriptor space and role are those of the model that it was made from, since its
whole path is that model: galleries and features of that model stay valid.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from edgevpr.artifacts.folder import open_artifact, write_artifact
from edgevpr.artifacts.manifest import Artifact, write_json
from edgevpr.artifacts.records import CodebookRecord, ExitRecord, ModelRecord
from edgevpr.errors import ArtifactError, CorruptArtifactError, NumericsError, UsageError
from edgevpr.files import write_atomic
from edgevpr.train.anytime.anytime_network import AnytimeNetwork, ExitSpec
from edgevpr.train.anytime.codebook import Codebook
from edgevpr.train.anytime.exit_cost import exit_costs
from edgevpr.train.networks.model import load_model

_EXITS = "exits.safetensors"


class _Shape(msgspec.Struct, forbid_unknown_fields=True):
    """Codebook of an anytime network, as ``ModelRecord.anytime`` keeps it."""

    heads: int
    size: int
    dim: int
    class_token: bool


def save_codebook(
    out: Path,
    codebook: Codebook,
    *,
    model: Artifact,
    init: Literal["learned", "kmeans", "random"],
    training: dict[str, Any],
    config: dict[str, Any],
    metrics_csv: str = "",
) -> None:
    """Write a codebook artifact.

    Args:
        out: its folder.
        codebook: whose prototypes and temperatures are saved.
        model: whose aggregator reads the tokens that it was learned on.
        init: how its prototypes were found.

    Raises:
        NumericsError: the codebook holds NaN or infinite values.
    """
    record = CodebookRecord(
        model_digest=model.digest,
        heads=codebook.heads,
        size=codebook.size,
        dim=codebook.dim,
        init=init,
        class_token=codebook.class_token,
        training=training,
    )
    data = save(_state(codebook))
    with write_artifact(out, "codebook", space=model.space) as folder:
        (folder / "codebook.safetensors").write_bytes(data)
        write_json(folder / "codebook.json", record)
        write_json(folder / "config.json", config)
        if metrics_csv:
            write_atomic(folder / "metrics.csv", metrics_csv.encode())


def load_codebook(
    path: Path, *, model: Artifact | None = None, verify: bool = True
) -> tuple[Codebook, CodebookRecord, Artifact]:
    """Open a codebook artifact, on the CPU.

    Args:
        path: its folder.
        model: the model that it must have been learned on; None: any.
        verify: hash its files first.

    Raises:
        ArtifactError: it was learned on another model, or is damaged.
    """
    opened = open_artifact(path, "codebook", verify=verify)
    record = opened.read("codebook.json", CodebookRecord)
    if model is not None and record.model_digest != model.digest:
        raise ArtifactError(
            f"found {path}, a codebook of the model {record.model_digest[:12]}, expected one of "
            f"{model.path} ({model.digest[:12]}), whose tokens are others: run edgevpr codebook "
            f"{model.path} IMAGES -o CODEBOOK"
        )
    codebook = Codebook(record.heads, record.size, record.dim, record.class_token)
    _fill(codebook, opened, "codebook.safetensors")
    return codebook.eval(), record, opened


def save_anytime(
    out: Path,
    anytime: AnytimeNetwork,
    *,
    source: Path,
    training: dict[str, Any],
    config: dict[str, Any],
    codebook_digest: str = "",
    validation_r1: dict[str, float] | None = None,
    metrics_csv: str = "",
) -> None:
    """Write an anytime network as a model artifact; multiply-adds of its exits are counted.

    Args:
        out: its folder.
        anytime: whose adapters and codebook are saved.
        source: the model artifact that its network was loaded from; its weights, preprocessing,
            role and descriptor space are kept.
        training: resolved configuration, seed, data digest and last metrics of the exits.
        codebook_digest: of the codebook artifact; kept for reference.
        validation_r1: R@1 in percent by exit.

    Raises:
        NumericsError: adapters or codebook hold NaN or infinite values.
        UsageError: the network is not the one in ``source``.
    """
    opened = open_artifact(source, "model")
    record = opened.read("model.json", ModelRecord)
    weights = opened.bytes("weights.safetensors")
    _check_same(load(weights), anytime.network.state_dict(), source)
    costs = exit_costs(anytime)
    exits = [
        ExitRecord(
            name=spec.name,
            method=spec.method,
            adapter=spec.adapter,
            multiply_adds_g=round(costs[spec.name].multiply_adds_g, 4),
            share=round(costs[spec.name].share, 4),
            validation_r1=(validation_r1 or {}).get(spec.name),
        )
        for spec in anytime.specs
    ]
    book = anytime.codebook
    about = {
        "codebook": book and {n: getattr(book, n) for n in ("heads", "size", "dim", "class_token")},
        "codebook_digest": codebook_digest,
        "made_from": opened.digest,
    }
    record = msgspec.structs.replace(record, training=training, exits=exits, anytime=about)
    data = save(_state(_parts(anytime)))
    with write_artifact(out, "model", space=opened.space) as folder:
        (folder / "weights.safetensors").write_bytes(weights)
        (folder / _EXITS).write_bytes(data)
        write_json(folder / "model.json", record)
        write_json(folder / "config.json", config)
        if metrics_csv:
            write_atomic(folder / "metrics.csv", metrics_csv.encode())


def load_anytime(
    path: Path, *, verify: bool = True
) -> tuple[AnytimeNetwork, ModelRecord, Artifact]:
    """Open a model artifact with exits, in evaluation mode, on the CPU, to describe images with.

    The whole path gives what ``load_model`` gives, to the bit. To train exits, build them on the
    network of ``load_model``.

    Raises:
        ArtifactError: the model has no exits, or its files are damaged.
    """
    network, record, opened = load_model(path, verify=verify)
    if not record.exits:
        raise ArtifactError(
            f"found no early exits in {path}, expected a model with some: train them with "
            f"edgevpr train IMAGES --anytime {path} --codebook CODEBOOK --exits NAMES -o MODEL"
        )
    specs = [ExitSpec(each.name, each.method, each.adapter) for each in record.exits]
    size = (record.preprocess.height, record.preprocess.width)
    gradients = [parameter.requires_grad for parameter in network.parameters()]
    try:
        anytime = AnytimeNetwork(network, specs, _codebook_of(record, opened), size)
    except (msgspec.ValidationError, UsageError) as error:
        raise CorruptArtifactError(
            f"found exits in {path} that do not fit its network ({error}), expected those of its "
            "exits.safetensors: write the model again with edgevpr train"
        ) from error
    _fill(_parts(anytime), opened, _EXITS)
    # The kernels of the plain network, whose descriptors these must be to the bit.
    for parameter, takes in zip(network.parameters(), gradients, strict=True):
        parameter.requires_grad_(takes)
    return anytime.eval(), record, opened


def _codebook_of(record: ModelRecord, opened: Artifact) -> Codebook | None:
    shape = msgspec.convert(record.anytime.get("codebook"), _Shape | None)
    if shape is None:
        return None
    # Float32 prototypes are part of the file: no record makes room for more.
    most = opened.manifest.files[_EXITS].size // 4
    if shape.dim < 1 or not 1 < shape.size <= most // shape.dim:
        raise UsageError(
            f"found a codebook of {shape.size} x {shape.dim}, expected at most {most} numbers: "
            "write it again"
        )
    return Codebook(shape.heads, shape.size, shape.dim, shape.class_token)


def _parts(anytime: AnytimeNetwork) -> nn.ModuleDict:
    """Everything of an anytime network that its plain network does not have."""
    parts: dict[str, nn.Module] = {"adapters": anytime.adapters}
    if anytime.codebook is not None:
        parts["codebook"] = anytime.codebook
    return nn.ModuleDict(parts)


def _state(module: nn.Module) -> dict[str, Tensor]:
    state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise NumericsError(
                f"found NaN or infinite values in {name}, expected finite ones: train again with "
                "a lower `lr` or with `precision` fp32"
            )
    return state


def _fill(module: nn.Module, opened: Artifact, name: str) -> None:
    try:
        module.load_state_dict(load(opened.bytes(name)), strict=True)
    except (SafetensorError, RuntimeError) as error:
        first = " ".join(str(error).split())[:200]
        raise CorruptArtifactError(
            f"found tensors in {opened.path / name} that do not fit its records ({first}), "
            f"expected those it was written with: write it again with {opened.command}"
        ) from error


def _check_same(saved: dict[str, Tensor], state: dict[str, Tensor], source: Path) -> None:
    same = saved.keys() == state.keys() and all(
        torch.equal(tensor, state[name].cpu()) for name, tensor in saved.items()
    )
    if not same:
        raise UsageError(
            f"found a network with other weights than {source}, expected that model's: pass the "
            "`source` that the network was loaded from"
        )
