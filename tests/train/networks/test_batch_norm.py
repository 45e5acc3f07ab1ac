"""Weights with folded batch normalization."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from edgevpr.train.networks.batch_norm import unfold_batch_norm  # noqa: E402


def folded(seed: int = 0) -> nn.Sequential:
    """Two layers whose BatchNorm is a bias, with inputs far from mean 0 and variance 1."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 4, 3, bias=False), nn.BatchNorm2d(4),
    )  # fmt: skip
    with torch.no_grad():
        network[0].weight.mul_(7)
        for layer in (network[1], network[4]):
            layer.bias.normal_(2, 3)
    return network.eval()


def batches(count: int = 4) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [3 + torch.randn(16, 3, 12, 12) for _ in range(count)]


def test_the_network_computes_what_it_did() -> None:
    network, x = folded(), batches()
    before = network(x[0])
    assert unfold_batch_norm(network, x) == 2
    assert not network.training
    torch.testing.assert_close(network(x[0]), before, rtol=1e-4, atol=1e-4)


def test_in_training_too() -> None:
    """Without unfolding, the error in training is as large as the output."""
    x = batches()
    lost, kept = folded(), folded()
    right = kept(x[0])
    unfold_batch_norm(kept, x)
    error = [
        (n.train()(x[0]) - right).square().mean() / right.square().mean() for n in (lost, kept)
    ]
    assert error[0] > 0.5  # measured 0.94
    assert error[1] < 0.01  # measured 0.0004


def test_statistics_of_their_own_are_kept() -> None:
    network = folded()
    network.train()(batches(1)[0])
    network.eval()
    before = copy.deepcopy(network.state_dict())
    assert unfold_batch_norm(network, batches()) == 0
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_nothing_to_unfold() -> None:
    assert unfold_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 3)), batches()) == 0
