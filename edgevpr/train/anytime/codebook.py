"""Codebook of the tokens that an aggregator reads, in sub-spaces, and composition from it.

The two stages of "Towards Anytime Visual Place Recognition via Manifold-aware Codebook
Composition" (Kim, Cho and Yoon): a token of D numbers is cut into H heads of D/H; each head has
M prototypes P^h of its own. With d the width of a head::

    A^h  = softmax_m( beta^h cos(F^h, P^h_m) )      assignment, (T, M)
    F^^h = A^h P^h                                  composition, (T, d)

and the heads are concatenated. Whatever is composed is a convex mixture of prototypes, so it stays
among tokens that the aggregator knows.
"""

import torch
from torch import Tensor, nn

from edgevpr.errors import UsageError

#: beta before training: a cosine 0.1 higher weighs e times as much.
INVERSE_TEMPERATURE = 10.0


class Codebook(nn.Module):
    """(B, T, D) tokens -> (B, T, D) mixtures of prototypes.

    Args:
        heads: sub-spaces H that a token is cut into; 1 is one monolithic book.
        size: prototypes M of each.
        dim: width D of a token, a multiple of ``heads``.
        class_token: the first token of each image is a class token (SALAD on DINOv2 reads one),
            which has a book of its own.

    Raises:
        UsageError: ``dim`` does not divide into ``heads``, or there are no heads or prototypes.
    """

    def __init__(self, heads: int, size: int, dim: int, class_token: bool = False) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            near = [h for h in range(1, dim + 1) if dim % h == 0]
            fits = min(near, key=lambda h: (abs(h - heads), h))
            raise UsageError(
                f"found `heads` {heads}, expected a divisor of the {dim} channels of a token: pass "
                f"`heads` {fits}"
            )
        if size < 2:
            raise UsageError(f"found `size` {size}, expected 2 prototypes or more: pass `size` 256")
        self.heads, self.size, self.dim, self.class_token = heads, size, dim, class_token
        for name in self.books():
            prototypes = nn.Parameter(torch.randn(heads, size, dim // heads))
            # beta^h, one a head, as a logarithm: it stays positive.
            log_beta = nn.Parameter(torch.full((heads,), INVERSE_TEMPERATURE).log())
            self.register_parameter(name, prototypes)
            self.register_parameter(_temperature_of(name), log_beta)

    def books(self) -> tuple[str, ...]:
        """Names of the parameters that hold prototypes (H, M, D / H)."""
        return ("prototypes", "class_prototypes") if self.class_token else ("prototypes",)

    def books_of(self, tokens: Tensor) -> tuple[tuple[str, Tensor], ...]:
        """Tokens (B, T, D) by the book that composes them."""
        if not self.class_token:
            return (("prototypes", tokens),)
        return ("prototypes", tokens[:, 1:]), ("class_prototypes", tokens[:, :1])

    def inverse_temperatures(self) -> list[float]:
        """beta of every head; those of the class token's book last."""
        return [
            float(beta)
            for name in self.books()
            for beta in self.get_parameter(_temperature_of(name)).detach().exp()
        ]

    def assign(self, tokens: Tensor) -> Tensor:
        """(B, T, D) -> A (B, H, T, M): weights of each head's prototypes, which sum to 1."""
        if not self.class_token:
            return self._assign(tokens, "prototypes")
        first = self._assign(tokens[:, :1], "class_prototypes")
        return torch.cat([first, self._assign(tokens[:, 1:], "prototypes")], 2)

    def compose(self, weights: Tensor) -> Tensor:
        """A (B, H, T, M) -> (B, T, D): the mixtures of all heads, side by side."""
        if not self.class_token:
            mixed = weights @ self.get_parameter("prototypes")
        else:
            first = weights[:, :, :1] @ self.get_parameter("class_prototypes")
            mixed = torch.cat([first, weights[:, :, 1:] @ self.get_parameter("prototypes")], 2)
        return mixed.transpose(1, 2).flatten(2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.compose(self.assign(tokens))

    def _assign(self, tokens: Tensor, book: str) -> Tensor:
        return self.scores(tokens, book).softmax(-1)

    def scores(self, tokens: Tensor, book: str) -> Tensor:
        """(B, T, D) -> (B, H, T, M) of beta times the cosine."""
        parts = tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)
        beta = self.get_parameter(_temperature_of(book)).exp()
        # beta goes with the prototypes: constant once trained, and so folded into exported graphs.
        keys = nn.functional.normalize(self.get_parameter(book), dim=-1) * beta[:, None, None]
        return nn.functional.normalize(parts, dim=-1) @ keys.transpose(1, 2)

    def extra_repr(self) -> str:
        return f"heads={self.heads}, size={self.size}, dim={self.dim}"


def _temperature_of(book: str) -> str:
    """Name of the parameter beside ``book``: "log_inverse_temperature", or the class token's."""
    return book.replace("prototypes", "log_inverse_temperature")


def default_shape(dim: int) -> tuple[int, int]:
    """Heads H and size M for tokens of width ``dim``: 12, 1024 for a ViT-B; 8, 256 for light nets.

    Heads that do not divide ``dim`` give way to the largest number below that does.
    """
    heads, size = (12, 1024) if dim >= 768 else (8, 256)
    return max(h for h in range(1, heads + 1) if dim % h == 0), size
