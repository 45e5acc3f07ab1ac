"""Reader of plain evaluation folders: ``database/`` and ``queries/`` side by side."""

from dataclasses import replace
from pathlib import Path

from edgevpr.data.read import read_images
from edgevpr.errors import DataError
from edgevpr.places.table import ImageTable


def read_split(root: Path, queries: str = "queries") -> tuple[ImageTable, ImageTable]:
    """Gallery and query images of ``root/database`` and ``root/queries``.

    Args:
        root: the folder that holds both; paths in the tables are relative to it.
        queries: name of the query folder; data sets have several (``queries_night``).

    Returns:
        (gallery, queries); each folder may have any layout that ``read_images`` knows.

    Raises:
        DataError: one of the two folders is missing, or cannot be read.
    """
    root = Path(root)
    tables = []
    for name in ("database", queries):
        if not (root / name).is_dir():
            raise DataError(
                f"found no folder {name} in {root}, expected database/ and {queries}/"
                f"{_hint(root, queries)}: check the path"
            )
        table = read_images(root / name)
        tables.append(replace(table, paths=[f"{name}/{path}" for path in table.paths]))
    return tables[0], tables[1]


def _hint(root: Path, queries: str) -> str:
    """Hint at a split one folder further down, as in ``images/{train,val,test}``."""
    below = sorted(p.parent.name for p in root.glob("*/database") if (p.parent / queries).is_dir())
    return f" (found in {', '.join(f'{root}/{name}' for name in below)})" if below else ""
