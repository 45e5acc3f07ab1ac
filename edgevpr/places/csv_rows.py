"""Rows of tables in text, as spreadsheets, pandas and exiftool write them."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from edgevpr.errors import DataError

#: Cells that say nothing, in lower case: pandas and databases write them for a gap.
NOTHING = frozenset({"", "nan", "na", "n/a", "none", "null", "<na>", "#n/a"})
_DELIMITERS = (",", ";", "\t")
#: A first line by which Excel tells the delimiter.
_EXCEL = re.compile(r"\s*sep=(.)\s*", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*", re.ASCII)


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row of a table; the header first, blank rows left out.

    UTF-8 and UTF-16 are read, with and without a byte order mark, and commas, semicolons or tabs
    between the cells, whichever the header has most of; ``52,5`` beside semicolons is 52.5. Bytes
    that are not UTF-8 stay as ``surrogateescape`` keeps them (see ``recoded``).

    Raises:
        FileNotFoundError: no such file.
        DataError: what is there is no table in text.
    """
    path = Path(path)
    try:
        encoding = _encoding(path)
        errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
        with path.open(encoding=encoding, errors=errors, newline="") as stream:
            header = stream.readline()
            delimiter = max(_DELIMITERS, key=header.count)
            if match := _EXCEL.fullmatch(header):
                delimiter = match[1]
            else:
                stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter)
            for row in reader:
                if not any(row) or not any(map(str.strip, row)):
                    continue
                if delimiter != ",":
                    row = [c.replace(",", ".") if _DECIMAL_COMMA.fullmatch(c) else c for c in row]
                yield reader.line_num, row
    except (csv.Error, UnicodeError) as error:
        raise DataError(
            f"found no table in {path} ({error}), expected a CSV in UTF-8: save it as one"
        ) from error
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(
            f"found {path} unreadable ({error.strerror}), expected a CSV: check the path and its "
            "permissions"
        ) from None


def recoded(cell: str) -> str:
    """The cell of a table that is Latin-1 (Windows-1252) in place of UTF-8; any other unchanged."""
    data = cell.encode("utf-8", "surrogateescape")
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
    return cell


def _encoding(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(256)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if start[1::2].count(0) > len(start) // 4:
        return "utf-16-le"
    if start[0::2].count(0) > len(start) // 4:
        return "utf-16-be"
    return "utf-8-sig"
