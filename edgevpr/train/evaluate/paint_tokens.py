"""Picture of what early exits compose: tokens in colour, regressed beside composed beside full.

One projection to three dimensions, red, green and blue, for the whole picture: the principal
directions of the full path's tokens of the images shown. Equal colours are similar tokens, so an
exit is as good as its columns look like the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from edgevpr.data import read_images
from edgevpr.errors import UsageError
from edgevpr.files import write_atomic
from edgevpr.preprocess import read_image
from edgevpr.train.anytime.anytime_network import AnytimeNetwork
from edgevpr.train.anytime.store import load_anytime

#: Pixels: a square, the space around it, the line of its name.
_SIDE, _GAP, _HEAD = 160, 6, 24
#: Percent of the full path's tokens that are darker, or brighter, than the colours reach.
_CLIPPED = 1.0


@dataclass(frozen=True)
class TokenColours:
    """(..., D) tokens -> (..., 3) in [0, 1], by three principal directions."""

    mean: NDArray[np.float32]
    #: (3, D).
    directions: NDArray[np.float32]
    #: (3,) values along them that are black, and how far white is from there.
    low: NDArray[np.float32]
    range: NDArray[np.float32]

    @classmethod
    def fit(cls, tokens: NDArray[np.float32]) -> "TokenColours":
        """Directions of the most variance of (N, D) tokens, each the way most of it points."""
        mean = tokens.mean(0)
        centred = tokens - mean
        _, vectors = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
        directions = np.zeros((3, tokens.shape[1]), np.float32)
        found = vectors[:, ::-1][:, :3].T
        # A direction and its opposite are equally good: the larger numbers decide, always alike.
        directions[: len(found)] = found * np.sign((found**3).sum(1, keepdims=True) + 1e-30)
        along = centred @ directions.T
        low, high = np.percentile(along, [_CLIPPED, 100 - _CLIPPED], axis=0)
        return cls(mean, directions, low, np.maximum(high - low, 1e-6))

    def __call__(self, tokens: NDArray[np.float32]) -> NDArray[np.float32]:
        along = (tokens - self.mean) @ self.directions.T
        return np.asarray(np.clip((along - self.low) / self.range, 0, 1), np.float32)


@dataclass(frozen=True)
class TokenMaps:
    """Tokens of one image on the aggregator's grid: name of a column -> (rows, columns, D)."""

    image: NDArray[np.uint8]
    maps: dict[str, NDArray[np.float32]]


def token_maps(anytime: AnytimeNetwork, pixels: torch.Tensor) -> dict[str, NDArray[np.float32]]:
    """Of one normalized image (1, 3, H, W): tokens of each exit as its adapter regressed them and
    as the codebook composed them (where it does), and "full". The class token is left out."""
    grid, first = anytime.tail.grid, int(anytime.tail.with_token)
    found: dict[str, NDArray[np.float32]] = {}

    def keep(name: str, tokens: torch.Tensor) -> None:
        found[name] = tokens[0, first:].float().numpy().reshape(*grid, -1)

    state = pixels
    with torch.inference_mode():
        for at, segment in enumerate(anytime.segments):
            state = segment(state)
            if at == len(anytime.exits):
                keep("full", state)
                continue
            name, method = anytime.exits[at], anytime.specs[at].method
            tokens = anytime.adapters[at](state)
            keep(f"{name} regressed", tokens)
            if method == "composition" and anytime.codebook is not None:
                keep(f"{name} composed", anytime.codebook(tokens))
    return found


def paint_tokens(models: Sequence[Path], images: Path, out: Path, *, count: int = 6) -> Path:
    """Write ``tokens.png``: below each other ``count`` images spread over the folder, beside each
    the tokens of every exit. Several models are drawn below each other, in colours of their own.

    Args:
        models: model artifacts with early exits.
        out: folder to write to.

    Raises:
        ArtifactError: a model without exits.
        DataError: no images, or one that cannot be read.
        UsageError: no model, or no image asked for.
    """
    if not models or count < 1:
        raise UsageError(
            f"found {len(models)} models and `count` {count}, expected 1 or more of both: pass "
            "`model` and `count` 6"
        )
    table = read_images(images)
    rows = np.unique(np.linspace(0, len(table) - 1, count).round().astype(int))
    blocks = []
    for model in models:
        anytime, record, _ = load_anytime(model)
        shown = []
        for row in rows:
            picture = read_image(images / table.paths[row])
            pixels = record.preprocess.normalize(record.preprocess.resize(picture)[None])
            shown.append(TokenMaps(picture, token_maps(anytime, torch.from_numpy(pixels))))
        blocks.append(draw_tokens(shown))
    width = max(block.shape[1] for block in blocks)
    page = np.vstack(
        [np.pad(b, ((0, 0), (0, width - b.shape[1]), (0, 0)), constant_values=255) for b in blocks]
    )
    done, data = cv2.imencode(".png", cv2.cvtColor(page, cv2.COLOR_RGB2BGR))
    assert done
    write_atomic(out / "tokens.png", data.tobytes())
    return out / "tokens.png"


def draw_tokens(shown: Sequence[TokenMaps]) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: a row an image, the image first, then a column for each of its maps."""
    full = [each.maps["full"] for each in shown]
    colours = TokenColours.fit(np.concatenate([m.reshape(-1, m.shape[-1]) for m in full]))
    names = ["image", *shown[0].maps]
    lines = [np.hstack([_heading(name) for name in names])]
    for each in shown:
        squares = [_square(each.image, cv2.INTER_AREA)]
        squares += [
            _square((255 * colours(m)).round().astype(np.uint8), cv2.INTER_NEAREST)
            for m in each.maps.values()
        ]
        lines.append(np.hstack(squares))
    return np.asarray(np.vstack(lines), np.uint8)


def _square(image: NDArray[np.uint8], interpolation: int) -> NDArray[np.uint8]:
    inner = cv2.resize(image, (_SIDE, _SIDE), interpolation=interpolation)
    return np.pad(inner, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255)


def _heading(name: str) -> NDArray[np.uint8]:
    line = np.full((_HEAD, _SIDE + _GAP, 3), 255, np.uint8)
    cv2.putText(
        line, name, (2, _HEAD - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA
    )
    return line
