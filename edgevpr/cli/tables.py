"""Layout of a table in plain text: no number and no word is ever cut.

Three forms, the first that fits the width: a line a row; text columns and headers wrapped between
words; a block a row, ``header value`` pairs under the row's first cell. Without a width (a pipe, a
log) it is a line a row, as wide as it has to be. A single word wider than the room runs over.
rich folds or cuts numbers where columns do not fit, and has no stacked form.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

GAP = 2
#: the last column may get as narrow as this although a longer word (a path, a digest) is in it.
NARROW = 24
#: what stays on one line: a word, and a number with its unit ("25 m", "765 ?").
WORD = re.compile(r"\S+(?:(?<=\d) (?:[A-Za-z/%]{1,4}|\?)[,;)]?(?=\s|$)(?: \?)?)?")


def layout(columns: Sequence[str], rows: Iterable[Sequence[Any]], width: int | None) -> list[str]:
    """Lines of a table, the header and its rule first unless all headers are empty.

    Args:
        columns: headers.
        rows: cells by column; None prints as "-", a float with two decimals.
        width: characters a line may have; None: any number.
    """
    body = [[_text(cell) for cell in row] for row in rows]
    right = [bool(body) and all(_is_number(row[i]) for row in body) for i in range(len(columns))]
    widths = _widths(columns, body, right, width)
    if widths is None:
        return [line for row in body for line in _block(columns, row, width or 0)]
    lines = []
    if any(columns):
        lines += _row(columns, widths, right)
        lines.append("-" * min(sum(widths) + GAP * (len(widths) - 1), width or 100))
    return lines + [line for row in body for line in _row(row, widths, right)]


def _widths(
    columns: Sequence[str], body: list[list[str]], right: list[bool], width: int | None
) -> list[int] | None:
    """Width of each column; None where even the narrowest columns do not fit."""
    whole, least = [], []
    for i, header in enumerate(columns):
        cells = [row[i] for row in body]
        whole.append(max(map(_cells, [header, *cells])))
        # The first column is the row's name: it stays on one line, as numbers do.
        kept = cells if right[i] or i == 0 else [w for cell in cells for w in WORD.findall(cell)]
        longest = max(map(_cells, [*WORD.findall(header), *kept]), default=0)
        last = i == len(columns) - 1 and i > 0 and not right[i]
        least.append(min(longest, NARROW) if last else longest)
    if width is None:
        return whole
    spare = width - sum(least) - GAP * (len(least) - 1)
    if spare < 0:
        return None
    # The columns that lack least get all they lack; the others share what is left.
    found = list(least)
    order = sorted(range(len(columns)), key=lambda i: whole[i] - least[i])
    for done, i in enumerate(order):
        grown = min(whole[i] - least[i], spare // (len(order) - done))
        found[i] += grown
        spare -= grown
    return found


def _row(cells: Sequence[str], widths: list[int], right: list[bool]) -> list[str]:
    wrapped = [_wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    lines = []
    for k in range(max(map(len, wrapped))):
        parts = []
        for column, width, to_right in zip(wrapped, widths, right, strict=True):
            text = column[k] if k < len(column) else ""
            space = " " * (width - _cells(text))
            parts.append(space + text if to_right else text + space)
        lines.append((" " * GAP).join(parts).rstrip())
    return lines


def _block(columns: Sequence[str], row: list[str], width: int) -> list[str]:
    """The row's first cell, then the others with their headers, indented, as many as fit."""
    lines = [row[0]]
    line = ""
    for header, cell in zip(columns[1:], row[1:], strict=True):
        pair = f"{header} {cell}".strip()
        if line and _cells(f"{line}, {pair}") + GAP > width:
            lines.append(line)
            line = ""
        line = f"{line}, {pair}" if line else pair
    lines.append(line)
    indent = " " * GAP
    return [lines[0], *(indent + part for text in lines[1:] for part in _wrap(text, width - GAP))]


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width``, broken between words only."""
    lines = [""]
    for word in WORD.findall(text):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and _cells(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _cells(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _text(value: object) -> str:
    if value is None:
        return "-"
    text = f"{value:.2f}" if isinstance(value, float) else str(value)
    return " ".join(text.split())


def _is_number(text: str) -> bool:
    """12, 1,024, 87.4, 2e-05, 8 ? (not verified), or - for none."""
    try:
        float(text.replace(",", "").removesuffix(" ?"))
    except ValueError:
        return text == "-"
    return True
