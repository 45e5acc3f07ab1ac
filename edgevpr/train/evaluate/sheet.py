"""Picture of an evaluation: queries with their best answers, misses beside hits."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgevpr.errors import UsageError
from edgevpr.files import write_atomic
from edgevpr.preprocess import read_image
from edgevpr.retrieval.recall import hits
from edgevpr.train.evaluate.evaluate import Evaluated

#: Sizes in pixels, and colours of the frames: query, right, wrong, missed.
_TILE, _FRAME, _ANSWERS = 144, 6, 3
_BLUE, _GREEN, _RED, _GREY = (70, 110, 200), (40, 160, 70), (200, 60, 50), (150, 150, 150)


def draw_sheet(result: Evaluated, count: int = 8) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: misses on the left, hits on the right, ``count`` of each at most.

    A row is the query (blue), its three best answers (green right, red wrong), and, for a miss, a
    gallery image that would have been right (grey). Rows are spread evenly over the data set.
    """
    found = hits(result.rows, result.positives)
    answerable = np.array([len(good) > 0 for good in result.positives])
    blocks = []
    for rows in (np.flatnonzero(answerable & ~found[:, 0]), np.flatnonzero(found[:, 0])):
        picked = (
            rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]
            if len(rows)
            else rows
        )
        lines = [_line(result, int(row), found[row]) for row in picked]
        blank = np.full((_TILE, (2 + _ANSWERS) * _TILE, 3), 255, np.uint8)
        blocks.append(np.vstack(lines + [blank] * (count - len(lines))))
    gap = np.full((blocks[0].shape[0], _TILE // 4, 3), 255, np.uint8)
    return np.hstack([blocks[0], gap, blocks[1]])


def save_sheet(result: Evaluated, sheet: Path) -> None:
    """Write the picture as .jpg or .png."""
    if sheet.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise UsageError(f"found `sheet` {sheet}, expected a .jpg or .png file: change its ending")
    done, data = cv2.imencode(sheet.suffix, cv2.cvtColor(draw_sheet(result), cv2.COLOR_RGB2BGR))
    assert done
    write_atomic(sheet, data.tobytes())


def _line(result: Evaluated, row: int, found: NDArray[np.bool_]) -> NDArray[np.uint8]:
    tiles = [_tile(result.root / result.queries.paths[row], _BLUE)]
    for rank in range(_ANSWERS):
        if rank < result.rows.shape[1] and result.rows[row, rank] >= 0:
            path = result.gallery.paths[result.rows[row, rank]]
            tiles.append(_tile(_gallery(result, path), _GREEN if found[rank] else _RED))
        else:
            tiles.append(np.full((_TILE, _TILE, 3), 255, np.uint8))
    good = result.positives[row]
    if found[0] or not len(good):
        tiles.append(np.full((_TILE, _TILE, 3), 255, np.uint8))
    else:
        tiles.append(_tile(_gallery(result, result.gallery.paths[good[0]]), _GREY))
    return np.hstack(tiles)


def _gallery(result: Evaluated, path: str) -> Path:
    return result.root / path


def _tile(path: Path, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    inner = _TILE - 2 * _FRAME
    image = cv2.resize(read_image(path), (inner, inner), interpolation=cv2.INTER_AREA)
    framed = cv2.copyMakeBorder(
        image, _FRAME, _FRAME, _FRAME, _FRAME, cv2.BORDER_CONSTANT, value=colour
    )
    return np.asarray(framed, np.uint8)
