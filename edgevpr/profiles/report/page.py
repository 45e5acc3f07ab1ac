"""Parts of a report page: tables, strips of pictures, sections."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgevpr.profiles.report.drawing import Figure
from edgevpr.profiles.report.pictures import Picture


@dataclass(frozen=True)
class Table:
    """Cells as text; columns whose cells are all numbers are set to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    #: the first column names its row.
    headed: bool = True

    def numeric(self, column: int) -> bool:
        """Whether this column holds numbers alone."""
        cells = [row[column] for row in self.rows]
        plain = [cell.replace(",", "").replace("-", "", 1).replace(".", "", 1) for cell in cells]
        return bool(cells) and all(text == "" or text.isdigit() for text in plain)


@dataclass(frozen=True)
class Strip:
    """Pictures in a row with one caption."""

    pictures: Sequence[Picture]
    caption: str = ""

    @property
    def columns(self) -> int:
        """Pictures side by side: all of a short strip, eight of a contact sheet."""
        return min(len(self.pictures), 8)


@dataclass(frozen=True)
class Section:
    """A heading, then text, figures, tables and strips, in this order."""

    title: str
    text: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    strips: Sequence[Strip] = ()
