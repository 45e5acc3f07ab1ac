"""Prototypes that a codebook starts from, on tokens whose structure is known."""

import pytest

torch = pytest.importorskip("torch")

from edgevpr.errors import DataError  # noqa: E402
from edgevpr.train.anytime.prototypes import starting_prototypes  # noqa: E402

HEADS, WIDTH = 2, 3


@pytest.fixture
def tokens() -> torch.Tensor:
    """200 tokens: in each head, one of four directions with a little noise, of any length."""
    draw = torch.Generator().manual_seed(0)
    directions = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1]])
    parts = directions[torch.randint(4, (200, HEADS), generator=draw)]
    parts = parts + 0.02 * torch.randn(200, HEADS, WIDTH, generator=draw)
    lengths = 0.5 + 4 * torch.rand(200, HEADS, 1, generator=draw)
    return (parts * lengths).flatten(1)


def directions_found(prototypes: torch.Tensor) -> list[set[int]]:
    """Which of the four directions the prototypes of each head point in."""
    directions = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1]])
    unit = torch.nn.functional.normalize(prototypes, dim=-1)
    cosine, nearest = (unit @ directions.T).max(-1)
    assert (cosine > 0.97).all()
    return [set(row.tolist()) for row in nearest]


@pytest.mark.parametrize("init", ["learned", "kmeans"])
@pytest.mark.parametrize("seed", range(5))
def test_every_direction_gets_a_prototype(tokens: torch.Tensor, init: str, seed: int) -> None:
    """Drawn by length, or all at random, two of four fall together in most draws."""
    found = starting_prototypes(tokens, HEADS, 4, init, seed)
    assert found.shape == (HEADS, 4, WIDTH)
    assert directions_found(found) == [{0, 1, 2, 3}] * HEADS


def test_centres_are_the_means_of_their_tokens(tokens: torch.Tensor) -> None:
    (centres,) = starting_prototypes(tokens[:, :WIDTH], 1, 4, "kmeans", 0)
    unit = torch.nn.functional.normalize(centres, dim=-1)
    own = (tokens[:, :WIDTH] @ unit.T).argmax(1)
    for code in range(4):
        torch.testing.assert_close(centres[code], tokens[own == code, :WIDTH].mean(0))


@pytest.mark.parametrize("init", ["learned", "random"])
def test_seeds_are_tokens(tokens: torch.Tensor, init: str) -> None:
    """With their lengths: composition mixes prototypes as they are."""
    found = starting_prototypes(tokens, HEADS, 6, init, 3)
    parts = tokens.reshape(200, HEADS, WIDTH).transpose(0, 1)
    assert (found[:, :, None] == parts[:, None]).all(-1).any(-1).all()
    assert torch.equal(found, starting_prototypes(tokens, HEADS, 6, init, 3))
    assert not torch.equal(found, starting_prototypes(tokens, HEADS, 6, init, 4))


def test_fewer_tokens_than_prototypes_are_refused() -> None:
    with pytest.raises(DataError, match="found 3 different tokens"):
        starting_prototypes(torch.eye(3).repeat(5, 1), 1, 4, "learned", 0)
