"""Output of the verbs: data on stdout, notes and progress bars on stderr."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from edgevpr.cli.spelling import spell
from edgevpr.printable import printable, utf8
from edgevpr.redact import redact

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import ProgressColumn

T = TypeVar("T")


def note(message: str) -> None:
    """A remark on stderr, without secrets; `name` of a parameter is printed as the verb's flag."""
    print(shown(spell(message)), file=sys.stderr, flush=True)


def interrupted(sentence: str) -> NoReturn:
    """End an interrupted verb with its own sentence on what it leaves, in place of the usual one.

    Raises:
        SystemExit: with 130.
    """
    note(f"edgevpr: {sentence}")
    raise SystemExit(130)


def shown(text: str) -> str:
    """A text for a terminal: passwords masked, control characters other than line feeds shown."""
    return "\n".join(printable(line) for line in redact(text).split("\n"))


def emit_json(record: object) -> None:
    """One JSON document on stdout, its texts in UTF-8 and without secrets."""
    print(json_text(record, indent=2), flush=True)


def json_text(record: object, indent: int = -1) -> str:
    """A record as JSON, in one line or indented, its texts in UTF-8 and without secrets."""
    import msgspec

    data = msgspec.json.encode(_told(msgspec.to_builtins(record)))
    return msgspec.json.format(data, indent=indent).decode() if indent >= 0 else data.decode()


def _told(value: Any) -> Any:
    if isinstance(value, str):
        return utf8(redact(value))
    if isinstance(value, dict):
        return {_told(key): _told(each) for key, each in value.items()}
    return [_told(each) for each in value] if isinstance(value, (list, tuple)) else value


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """``edgevpr.progress.Track`` that draws a bar with count, elapsed time and ETA on stderr."""
    from rich.progress import Progress

    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(*_columns(), console=_stderr()) as progress:
        yield from progress.track(items, total=total, description=description)


@contextlib.contextmanager
def counting(
    description: str, total: int | None, *, beside_lines: bool
) -> Iterator[Callable[[], None]]:
    """A function that moves a bar on by one; the bar is on stderr, and only in a terminal.

    Args:
        total: None where the end is not known, such as that of a camera.
        beside_lines: data goes to stdout meanwhile; no bar where that is the terminal, too.
    """
    if not sys.stderr.isatty() or (beside_lines and sys.stdout.isatty()):
        yield lambda: None
        return
    from rich.progress import Progress

    with Progress(*_columns(), console=_stderr(), redirect_stdout=False) as progress:
        task = progress.add_task(description, total=total)
        yield lambda: progress.advance(task)


def _stderr() -> "Console":
    from rich.console import Console

    return Console(stderr=True)


def _columns() -> "list[ProgressColumn]":
    """Description, bar, count, elapsed time and ETA."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("elapsed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]


def table(title: str, columns: list[str], rows: Iterable[list[Any]]) -> None:
    """A table on stdout; text to the left, numbers to the right, every number whole.

    A terminal gets it in its width, a pipe or a file in one line a row.
    """
    from edgevpr.cli.tables import layout

    lines = layout(columns, rows, _terminal_width())
    heading = title
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        heading = f"\033[1m{title}\033[0m"
    print("\n".join([heading, *lines, ""]), flush=True)


def _terminal_width() -> int | None:
    """Characters in a line of the terminal that stdout is; None where it is none."""
    if not sys.stdout.isatty():
        return None
    named = os.environ.get("COLUMNS", "")
    if named.isdecimal() and int(named):
        return int(named)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


@contextlib.contextmanager
def training_bar(description: str) -> Iterator[Callable[[Any], None]]:
    """One bar for a whole training run: step, ETA, images/s, loss and validation R@1."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task(description, total=None, figures="")
        started, images, epoch = time.perf_counter(), 0, 0

        def on_step(step: Any) -> None:
            nonlocal images, epoch
            images += step.images
            rate = images / (time.perf_counter() - started)
            score = "" if step.r1 is None else f" val R@1 {step.r1:.1f}"
            progress.update(
                task,
                total=step.steps,
                completed=step.step,
                figures=f"epoch {step.epoch + 1} loss {step.loss:.3f}{score} {rate:.0f} img/s",
            )
            if not progress.console.is_terminal and step.epoch > epoch:
                # A log file gets a line an epoch instead of a bar.
                epoch = step.epoch
                note(f"step {step.step}/{step.steps} loss {step.loss:.3f}{score} {rate:.0f} img/s")

        yield on_step
