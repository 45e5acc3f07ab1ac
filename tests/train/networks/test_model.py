"""Networks that start from the weights of others."""

import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from safetensors.torch import load_file, save_file  # noqa: E402

from edgevpr.errors import CorruptArtifactError, DataError, UsageError  # noqa: E402
from edgevpr.train.networks import model  # noqa: E402
from edgevpr.train.networks.architecture import Architecture  # noqa: E402
from edgevpr.train.networks.model import copy_aggregator, load_model, start_from  # noqa: E402
from edgevpr.train.networks.network import Network  # noqa: E402

from ..runs import BOQ, gallery_config, query_config  # noqa: E402


def test_aggregator_from_the_gallery_network(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """All tensors of the same shape are copied, the others stay."""
    gallery, _, _ = load_model(trained / "gallery")
    config = query_config(tiny, trained)
    network = Network(config.architecture)
    fresh = network.aggregator.proj_c.weight.clone()
    assert copy_aggregator(trained / "gallery", network) == len(gallery.aggregator.state_dict()) - 1
    assert torch.equal(network.aggregator.fc.weight, gallery.aggregator.fc.weight)
    assert torch.equal(network.aggregator.proj_c.weight, fresh)
    other = Network(Architecture("resnet10t", 1, aggregator_args=BOQ | {"num_queries": 8}))
    with pytest.raises(UsageError, match="`aggregator_args`"):
        copy_aggregator(trained / "gallery", other)


def test_starting_from_a_whole_network(tiny: Path, trained: Path, tmp_path: Path) -> None:
    """Every tensor is filled, and a file of another network is refused."""
    weights = tmp_path / "half.safetensors"
    state = load_file(trained / "gallery" / "weights.safetensors")
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, weights)
    network = Network(gallery_config(tiny).architecture)
    start_from(weights, network)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state[name], atol=1e-3, rtol=1e-3)
    with pytest.raises(DataError, match="found no weights of this network"):
        start_from(weights, Network(Architecture("resnet10t", 1, aggregator_args=BOQ)))


@pytest.mark.parametrize("how", ["renamed", "overwritten"])
def test_weights_exchanged_after_the_check_are_not_loaded(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Weights of the same size, while the network is made between the check and the reading."""
    path = Path(shutil.copytree(trained / "gallery", tmp_path / "model"))
    state = load_file(path / "weights.safetensors")
    save_file({k: torch.zeros_like(v) for k, v in state.items()}, tmp_path / "other")

    def exchange(*args: Any) -> Network:
        if how == "renamed":
            (tmp_path / "other").rename(path / "weights.safetensors")
        else:
            shutil.copyfile(tmp_path / "other", path / "weights.safetensors")
        return Network(*args)

    monkeypatch.setattr(model, "Network", exchange)
    with pytest.raises(CorruptArtifactError, match=r"weights\.safetensors has changed"):
        load_model(path)
