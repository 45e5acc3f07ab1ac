"""Codebook: assignment and composition against numpy, and what they must not depend on."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import UsageError  # noqa: E402
from edgevpr.train.anytime.codebook import Codebook, default_shape  # noqa: E402

B, T, D, H, M = 3, 7, 12, 4, 5


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(B, T, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def book(heads: int = H, class_token: bool = False) -> Codebook:
    torch.manual_seed(2)
    made = Codebook(heads, M, D, class_token).double()
    with torch.no_grad():  # another temperature in every head
        for name, parameter in made.named_parameters():
            if "temperature" in name:
                parameter.add_(torch.linspace(-1, 1, heads, dtype=torch.float64))
    return made


def by_hand(tokens: np.ndarray, prototypes: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, ...]:
    """The equations one token and one head at a time, in float64."""
    heads, size, width = prototypes.shape
    weights = np.zeros((len(tokens), heads, tokens.shape[1], size))
    composed = np.zeros_like(tokens)
    for b, t in np.ndindex(tokens.shape[:2]):
        for h in range(heads):
            part = tokens[b, t, h * width : (h + 1) * width]
            cosine = np.array(
                [part @ p / np.linalg.norm(part) / np.linalg.norm(p) for p in prototypes[h]]
            )
            a = np.exp(beta[h] * cosine)
            a /= a.sum()
            weights[b, h, t] = a
            composed[b, t, h * width : (h + 1) * width] = a @ prototypes[h]
    return weights, composed


@pytest.mark.parametrize("heads", [1, H])
def test_equations(tokens: torch.Tensor, heads: int) -> None:
    """A head cut at the wrong place, a dot product for cosine, another head's temperature."""
    made = book(heads)
    weights, composed = by_hand(
        tokens.numpy(),
        made.prototypes.detach().numpy(),
        made.log_inverse_temperature.exp().detach().numpy(),
    )
    np.testing.assert_allclose(made.assign(tokens).detach(), weights, rtol=1e-12)
    np.testing.assert_allclose(made(tokens).detach(), composed, rtol=1e-11, atol=1e-13)


def test_one_head_is_a_monolithic_book(tokens: torch.Tensor) -> None:
    """Every composed token is one mixture of whole prototypes: softmax(beta cos) P."""
    made = book(1)
    prototypes = made.prototypes[0]
    cosine = torch.nn.functional.cosine_similarity(tokens[:, :, None], prototypes, dim=-1)
    weights = (made.log_inverse_temperature.exp() * cosine).softmax(-1)
    torch.testing.assert_close(made(tokens), weights @ prototypes)


@pytest.mark.parametrize("class_token", [False, True])
def test_the_order_of_prototypes_is_nothing(tokens: torch.Tensor, class_token: bool) -> None:
    made = book(class_token=class_token)
    before = made(tokens)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "prototypes" in name:
                for head in range(H):
                    parameter[head] = parameter[head, torch.randperm(M)]
    torch.testing.assert_close(made(tokens), before)


def test_the_class_token_has_its_own_book(tokens: torch.Tensor) -> None:
    """Neither book touches the other's tokens; both are as a book alone."""
    made, alone = book(class_token=True), book()
    alone.load_state_dict(
        {
            "prototypes": made.class_prototypes,
            "log_inverse_temperature": made.class_log_inverse_temperature,
        }
    )
    composed = made(tokens)
    torch.testing.assert_close(composed[:, :1], alone(tokens[:, :1]))
    composed[:, 1:].sum().backward()
    assert made.class_prototypes.grad.abs().max() == 0
    assert made.prototypes.grad.abs().max() > 0


def test_a_sharp_temperature_picks_the_nearest_prototype(tokens: torch.Tensor) -> None:
    made = book()
    with torch.no_grad():
        made.log_inverse_temperature.fill_(12.0)
        width = D // H
        first = made.prototypes[2, 3] * 5  # in its direction, of another length
        tokens[0, 0, 2 * width : 3 * width] = first
        found = made(tokens)[0, 0, 2 * width : 3 * width]
    torch.testing.assert_close(found, made.prototypes[2, 3].detach())


def test_shapes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="pass `heads` 4"):
        Codebook(5, 8, 12)
    with pytest.raises(UsageError, match="`size` 1"):
        Codebook(4, 1, 12)


@pytest.mark.parametrize(
    ("dim", "expected"),
    [(768, (12, 1024)), (384, (8, 256)), (512, (8, 256)), (1024, (8, 1024)), (36, (6, 256))],
)
def test_default_shapes(dim: int, expected: tuple[int, int]) -> None:
    """Every width gets heads that divide it."""
    assert default_shape(dim) == expected
    Codebook(*expected, dim)
