"""Class-relational label smoothing against the talk's formulas."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.losses.crls import ClassRelational, smoothed_labels  # noqa: E402


def test_labels_follow_the_formula() -> None:
    """The label is not among its own relations, and weights are normalized."""
    weight = np.random.default_rng(0).normal(size=(5, 4))
    labels, alpha, tau = [3, 0], 0.2, 0.5
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    direct = np.zeros((2, 5))
    for row, y in enumerate(labels):
        others = [j for j in range(5) if j != y]
        e = {j: np.exp(unit[y] @ unit[j] / tau) for j in others}
        for j in others:
            direct[row, j] = alpha * e[j] / sum(e.values())
        direct[row, y] = 1 - alpha
    got = smoothed_labels(torch.from_numpy(weight), torch.tensor(labels), alpha, tau)
    np.testing.assert_allclose(got.numpy(), direct, rtol=1e-12)


def test_alpha_0_is_cross_entropy() -> None:
    torch.manual_seed(0)
    loss = ClassRelational(6, 4, alpha=0)
    x, labels = torch.randn(3, 4), torch.tensor([1, 5, 2])
    unit = torch.nn.functional.normalize
    logits = unit(x, dim=1) @ unit(loss.weight, dim=1).T / 0.05
    plain = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(loss(x, labels), plain)


def test_relations_take_no_gradient() -> None:
    """The classifier cannot make its own targets easy."""
    loss = ClassRelational(3, 4, alpha=0.5)
    x = torch.randn(2, 4)
    loss(x, torch.tensor([0, 1])).backward()
    gradient = loss.weight.grad.clone()
    loss.weight.grad = None
    with torch.no_grad():
        targets = smoothed_labels(loss.weight, torch.tensor([0, 1]), 0.5, 0.1)
    unit = torch.nn.functional.normalize
    logits = unit(x, dim=1) @ unit(loss.weight, dim=1).T / 0.05
    torch.nn.functional.cross_entropy(logits, targets).backward()
    torch.testing.assert_close(loss.weight.grad, gradient)


@pytest.mark.parametrize(
    "bad", [{"alpha": 1.0}, {"relation_tau": 0}, {"temperature": -1}, {"classes": 1}]
)
def test_out_of_range(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        ClassRelational(**({"classes": 3, "dim": 2} | bad))
